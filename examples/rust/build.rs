//! Makes the client of iamd from its protocol, without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let protos = "../../proto";
    println!("cargo::rerun-if-changed={protos}");
    let descriptors = protox::compile(["iamd/v1/authorization.proto"], [protos])?;
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(descriptors)?;
    Ok(())
}
