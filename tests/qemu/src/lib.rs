//! dawnkey-qemu-tests
