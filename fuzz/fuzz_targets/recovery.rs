//! What a waiting node reads of a stranger, and an operator's tool of a node: total, and what decodes encodes to itself.
#![no_main]

use dawnkey_proto::recovery::{Answer, Grant, PublicKey, ReceivedRecovery, RecoveryRequest, frame, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Grant::verify(data, &[PublicKey([7; 32])]);
    if let Some(head) = data.first_chunk() {
        let _ = frame::Kind::head(*head);
    }
    if let Ok(answer) = Answer::decode(data) {
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
    if let Ok(request) = RecoveryRequest::decode(data) {
        assert_eq!(RecoveryRequest::decode(&request.encode()), Ok(request));
    }
    let _ = ReceivedRecovery::decode(data);
    if let Ok(written) = std::str::from_utf8(data) {
        for kind in [text::Kind::Grant, text::Kind::Request] {
            if let Ok(message) = text::decode(kind, written) {
                assert_eq!(text::decode(kind, &text::encode(kind, &message)), Ok(message));
            }
        }
    }
});
