//! Compiles the protocol's `.proto` files without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "unlock.proto",
        "admin.proto",
        "data_key.proto",
        "kek.proto",
        "kubernetes.proto",
        "recovery.proto",
    ];
    let files = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
