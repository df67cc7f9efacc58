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

/// The messages that are only ever written as JSON: their text forms follow from their fields.
const EXPLANATION: &[&str] = &[
    "ExplainResponse",
    "StatementRef",
    "StatementSource",
    "Position",
    "TypeResult",
    "LevelResult",
    "CrossAccount",
    "IndeterminateKey",
    "StatementResult",
    "ElementResult",
    "PolicyValue",
    "ConditionResult",
];

/// The fields among them that Rust and JSON spell differently, with who writes them.
const WRITERS: &[(&str, &str)] = &[
    ("ExplainResponse.decision", "decision_name"),
    ("ExplainResponse.reason", "reason_name"),
    ("ExplainResponse.evaluated_at", "rfc3339"),
    ("StatementRef.type", "policy_type_name"),
    ("StatementSource.type", "policy_type_name"),
];

/// The fields among them that are left out where there is nothing to say.
const ABSENT: &[&str] = &[
    "ExplainResponse.allowed_by_organizations",
    "ExplainResponse.allowed_by_permissions_boundary",
    "ExplainResponse.cross_account",
    "StatementResult.principal",
    "StatementResult.resource",
    "PolicyValue.resolved",
];

/// The maps from names to values: their entries are one type.
const VALUE_MAPS: &[&str] = &[
    "ExplainRequest.ContextEntry",
    "SimulateRequest.ContextEntry",
    "SessionContext.ClaimsEntry",
    "SessionContext.AttributesEntry",
];

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
    let mut build = tonic_prost_build::configure();
    for message in EXPLANATION {
        let path = format!(".iamd.v1.{message}");
        build = build
            .message_attribute(&path, "#[derive(serde::Serialize)]")
            .message_attribute(&path, "#[serde(rename_all = \"camelCase\")]");
    }
    for (field, writer) in WRITERS {
        let attribute = format!("#[serde(serialize_with = \"crate::service::json::{writer}\")]");
        build = build.field_attribute(format!(".iamd.v1.{field}"), attribute);
    }
    for field in ABSENT {
        let attribute = "#[serde(skip_serializing_if = \"Option::is_none\")]";
        build = build.field_attribute(format!(".iamd.v1.{field}"), attribute);
    }
    for entry in VALUE_MAPS {
        let same = "crate::service::pb::authorize_request::ContextEntry";
        build = build.extern_path(format!(".iamd.v1.{entry}"), same);
    }
    build.compile_fds(generated)?;
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
