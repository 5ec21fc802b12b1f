//! Messages of both directions. A request's bytes enter the binder, so they must be canonical.
#![no_main]

use dawnkey_proto::message::{
    Answer, Confirm, ConfirmAnswer, ReceivedRequest, Renew, RenewAnswer, Request,
};
use dawnkey_proto::wire;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    if let Ok(message) = wire::UnlockRequest::decode(bytes) {
        let _ = ReceivedRequest::try_from(message);
    }
    if let Ok(message) = wire::UnlockAnswer::decode(bytes) {
        let _ = Answer::try_from(message);
    }
    if let Ok(message) = wire::ConfirmRequest::decode(bytes) {
        let _ = Confirm::try_from(message);
    }
    if let Ok(message) = wire::RenewRequest::decode(bytes) {
        let _ = Renew::try_from(message);
    }
    if let Ok(message) = wire::RenewAnswer::decode(bytes) {
        let _ = RenewAnswer::try_from(message);
    }
    if let Ok(message) = wire::ConfirmAnswer::decode(bytes) {
        let _ = ConfirmAnswer::try_from(message);
    }
});
