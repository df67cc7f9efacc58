//! Compiles the protocol without `protoc`.
//!
//! The descriptors are written out as they are, for reflection. The Rust types are made from a copy in which every
//! `map<K, V>` is the repeated entry message that it is on the wire: prost's maps keep the last of two equal keys
//! in silence, and iamd must refuse such a request (C-4).

use std::path::PathBuf;
use std::{env, error::Error, fs};

use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet};

const PROTOS: &[&str] = &["iamd/v1/authorization.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    // Without the comments: prost looks for one on every message, and a map's entry can't have any.
    compiler
        .include_imports(true)
        .include_source_info(false)
        .open_files(PROTOS)?;
    let descriptors: FileDescriptorSet = compiler.file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?).join("iamd.descriptors.bin");
    fs::write(out, descriptors.encode_to_vec())?;

    let mut generated = descriptors;
    for file in &mut generated.file {
        file.message_type.iter_mut().for_each(show_map_entries);
    }
    tonic_prost_build::configure().compile_fds(generated)?;
    Ok(())
}

/// Makes map fields plain repeated messages: the same bytes, with repeated keys visible.
fn show_map_entries(message: &mut DescriptorProto) {
    for nested in &mut message.nested_type {
        if let Some(options) = &mut nested.options {
            options.map_entry = None;
        }
        show_map_entries(nested);
    }
}
