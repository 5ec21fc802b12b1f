//! Files and answers of vendors, on their way into the store of endorsements. None of them holds under the real roots.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use dawnkey_attest::snp::roots::Roots;
use dawnkey_attest::tdx::TdxRoots;
use dawnkey_endorse::answer::{chain_of_header, parse, write};
use dawnkey_endorse::check::{Helpers, Trust, check, documents};
use dawnkey_endorse::item::Item;
use libfuzzer_sys::fuzz_target;

static TRUST: LazyLock<Trust> = LazyLock::new(|| Trust {
    snp: Roots::amd().expect("built in"),
    tdx: TdxRoots::intel().expect("built in"),
    tpm: vec![dawnkey_attest::tdx::INTEL_ROOT.to_vec()],
});

fuzz_target!(|data: &[u8]| {
    if let Some(answer) = parse(data) {
        let again = write(answer.kind, answer.text.as_bytes(), &answer.signature);
        assert_eq!(parse(&again).as_ref(), Some(&answer));
    }
    if let Some(path) = std::str::from_utf8(data).ok().map(Path::new)
        && let Some(item) = Item::of_path(path)
    {
        assert_eq!(item.path(), path);
    }
    let chain = chain_of_header(data);
    let helpers = Helpers {
        chains: chain.into_iter().chain([data.to_vec()]).collect(),
        ..Helpers::default()
    };
    for document in documents(data).unwrap_or_default().iter().take(4) {
        // Only copies of the vendors' own certificates could pass, and they are no accident of a fuzzer.
        let _ = check(document, false, &TRUST, &helpers, 1_790_000_000);
    }
});
