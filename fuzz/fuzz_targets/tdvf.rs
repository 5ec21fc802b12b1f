//! Firmware as an operator was given it: its tables and metadata are read in bounds, and what is read can be measured.
#![no_main]

use dawnkey_attest::measure::tdx::{Machine, PageOrder, Tdvf, td_hob};
use dawnkey_attest::snp::launch::Ovmf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Ovmf::parse(bytes);
    let Ok(tdvf) = Tdvf::parse(bytes) else { return };
    let memory: u64 = tdvf.sections().iter().map(|section| section.size).sum();
    assert!(
        tdvf.sections()
            .iter()
            .all(|section| section.data.len() <= bytes.len())
    );
    let _ = td_hob(&tdvf, Machine::Qemu, 4096);
    let _ = td_hob(&tdvf, Machine::Gce, 16384);
    // Hashing much memory is slow and finds nothing more.
    if memory <= 1 << 20 {
        let _ = tdvf.mr_td(PageOrder::PageByPage);
        let _ = tdvf.mr_td(PageOrder::AddThenMeasure);
    }
});
