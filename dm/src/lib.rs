//! dawnkey-dm
