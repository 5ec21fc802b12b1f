//! What an event's digest proves of its text, and what is said of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use dawnkey_attest::{
    eventlog::{
        EventLog, Limits,
        describe::describe,
        kind,
        proof::{Proof, proof},
    },
    fake::LogBuilder,
    tpm::hash::Hash,
};

/// Proof and description of an event that measured `content` and carries `data`.
fn of(kind: u32, content: &[u8], data: &[u8]) -> (Proof, String) {
    let log = LogBuilder::new(&[Hash::Sha256])
        .measured(8, kind, content, data)
        .build();
    let log = EventLog::parse(&log, Limits::default()).unwrap();
    let event = log.events.last().unwrap();
    (proof(event, Hash::Sha256), describe(event))
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// `UEFI_VARIABLE_DATA` of the global variables' GUID.
fn variable(name: &str, value: &[u8]) -> Vec<u8> {
    let guid = hex::decode("61dfe48bca93d211aa0d00e098032b8c").unwrap();
    let lengths = [name.len() as u64, value.len() as u64]
        .map(u64::to_le_bytes)
        .concat();
    [guid, lengths, utf16(name), value.to_vec()].concat()
}

#[test]
fn grub_hashes_the_text_behind_its_prefix() {
    for text in [
        "grub_cmd: linux /vmlinuz",
        "kernel_cmdline: linux /vmlinuz",
        "grub_cmd linux /vmlinuz",
    ] {
        let data = [text.as_bytes(), &[0]].concat();
        let (proof, shown) = of(kind::IPL, b"linux /vmlinuz", &data);
        assert_eq!((proof, shown.as_str()), (Proof::Text, text));
    }
    assert_eq!(
        of(kind::IPL, b"linux /other", b"grub_cmd: linux /vmlinuz\0").0,
        Proof::Nothing
    );
    assert_eq!(
        of(kind::IPL, b"the file", b"/boot/vmlinuz\0").0,
        Proof::Nothing
    );
}

#[test]
fn the_stub_hashes_a_sections_name_in_ascii_and_a_command_line_as_logged() {
    let (proof, shown) = of(kind::IPL, b".linux\0", &utf16(".linux\0"));
    assert_eq!((proof, shown.as_str()), (Proof::Text, ".linux"));
    let line = utf16("console=ttyS0\0");
    assert_eq!(
        of(kind::IPL, &line, &line),
        (Proof::Whole, "console=ttyS0".into())
    );
}

#[test]
fn a_boot_variable_may_prove_its_value_only() {
    let data = variable("BootOrder", &[1, 0]);
    assert_eq!(of(kind::EFI_VARIABLE_BOOT, &[1, 0], &data).0, Proof::Value);
    assert_eq!(of(kind::EFI_VARIABLE_BOOT2, &data, &data).0, Proof::Whole);
    let (proof, shown) = of(kind::EFI_VARIABLE_DRIVER_CONFIG, &[1, 0], &data);
    assert_eq!(proof, Proof::Nothing);
    assert_eq!(
        shown,
        "variable BootOrder of 8be4df61-93ca-11d2-aa0d-00e098032b8c, 2 bytes"
    );
}

#[test]
fn shims_variables_and_actions_prove_themselves() {
    let data = variable("MokListTrusted", &[1]);
    assert_eq!(
        of(kind::EFI_VARIABLE_AUTHORITY, &data, &data).0,
        Proof::Whole
    );
    let action = b"Exit Boot Services Invocation";
    assert_eq!(of(kind::EFI_ACTION, action, action).0, Proof::Whole);
}

#[test]
fn a_tagged_event_proves_the_text_behind_its_tag() {
    let data = [
        &0x8f3b_22edu32.to_le_bytes()[..],
        &5u32.to_le_bytes(),
        b"line\0",
    ]
    .concat();
    let (proof, shown) = of(kind::EVENT_TAG, b"line\0", &data);
    assert_eq!(
        (proof, shown.as_str()),
        (Proof::Text, "tag 0x8f3b22ed line")
    );
}

#[test]
fn an_image_is_named_by_the_files_of_its_device_path() {
    let name = utf16("\\EFI\\BOOT\\BOOTX64.EFI\0");
    let node = [&[4, 4], &((name.len() + 4) as u16).to_le_bytes()[..], &name].concat();
    let path = [node.as_slice(), &[0x7f, 0xff, 4, 0]].concat();
    let data = [&[0; 24], &(path.len() as u64).to_le_bytes()[..], &path].concat();
    let (proof, shown) = of(kind::EFI_BOOT_SERVICES_APPLICATION, b"image", &data);
    assert_eq!(
        (proof, shown.as_str()),
        (Proof::Nothing, "loaded PE image \\EFI\\BOOT\\BOOTX64.EFI")
    );
}

#[test]
fn hostile_text_cannot_write_to_a_terminal() {
    let (_, shown) = of(kind::IPL, b"x", b"a\x1b[2Jb\n\xff");
    assert_eq!(shown, "a.[2Jb..");
    let (_, shown) = of(
        kind::EFI_VARIABLE_AUTHORITY,
        b"x",
        &variable("\u{1b}[2J", &[]),
    );
    assert!(shown.starts_with("variable .[2J of"), "{shown}");
}
