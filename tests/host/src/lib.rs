//! dawnkey-host-tests
