//! Agent against key service on one machine, without a VM: everything is real but device-mapper.
//!
//! The tests in `tests/` start a key service with its store, policy and TLS, make software TPMs with endorsement
//! certificates, and run the agent's flow against them. Only the last step is not taken: headers are really written
//! to disk files, but nothing is mapped. `tests/qemu` does that in a machine.
