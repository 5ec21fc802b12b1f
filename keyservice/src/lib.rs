//! dawnkey-keyservice
