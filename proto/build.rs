//! Compiles the protocol without `protoc`.
//!
//! The descriptors are written unchanged, for reflection. The Rust types are made from a copy in which every `map<K,
//! V>` is a repeated entry message, as it is on the wire. prost's maps silently keep the last of two equal keys, but
//! iamd must refuse such a request (C-4). In that copy, the calls with many questions take and give their messages as
//! bytes, and long answers are given as bytes.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorSet, ServiceDescriptorProto};

const PROTOS: &[&str] = &["iamd/v1/authorization.proto", "grpc/health/v1/health.proto"];

/// The messages of explanations, of lists and of the server's state. They derive `Serialize`, since JSON is their only other form.
const WRITTEN: &[&str] = &[
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
    "StatusResponse",
    "Finding",
    "WatchRevisionResponse",
    "ListPermissionsResponse",
    "Permission",
    "Condition",
    "ListPrincipalsResponse",
    "PrincipalAccess",
    "ListContextKeysResponse",
    "ContextKeyUse",
];

/// The fields of these messages that need a function to write them as JSON, with that function.
const WRITERS: &[(&str, &str)] = &[
    ("ExplainResponse.decision", "decision_name"),
    ("ExplainResponse.reason", "reason_name"),
    ("ExplainResponse.evaluated_at", "rfc3339"),
    ("StatementRef.type", "policy_type_name"),
    ("StatementSource.type", "policy_type_name"),
    ("StatusResponse.loaded_at", "rfc3339"),
    ("StatusResponse.files", "count"),
    ("StatusResponse.statements", "count"),
    ("StatusResponse.principals", "count"),
    ("StatusResponse.started_at", "rfc3339"),
    ("StatusResponse.findings_left_out", "count"),
    ("Finding.severity", "severity_name"),
    ("PrincipalAccess.access", "access_name"),
    ("WatchRevisionResponse.in_force_since", "rfc3339"),
];

/// The fields of these messages that JSON leaves out when they are absent.
const ABSENT: &[&str] = &[
    "ExplainResponse.allowed_by_organizations",
    "ExplainResponse.allowed_by_permissions_boundary",
    "ExplainResponse.cross_account",
    "StatementResult.principal",
    "StatementResult.resource",
    "PolicyValue.resolved",
    "StatusResponse.loaded_at",
    "StatusResponse.started_at",
    "Finding.position",
    "WatchRevisionResponse.in_force_since",
];

/// The entries of the maps from names to values. They all become one Rust type.
const VALUE_MAPS: &[&str] = &[
    "ExplainRequest.ContextEntry",
    "SimulateRequest.ContextEntry",
    "ListPermissionsRequest.ContextEntry",
    "ListPrincipalsRequest.ContextEntry",
    "SessionContext.ClaimsEntry",
    "SessionContext.AttributesEntry",
];

/// The messages that calls take or give in their encoded form: those of many questions, so that iamd can read and write them
/// piece by piece, and long answers, so that the thread that works them out can encode them, too.
const ENCODED: &[&str] = &[
    ".iamd.v1.BatchAuthorizeRequest",
    ".iamd.v1.BatchAuthorizeResponse",
    ".iamd.v1.StreamAuthorizeRequest",
    ".iamd.v1.StreamAuthorizeResponse",
    ".iamd.v1.SimulateResponse",
    ".iamd.v1.ExplainResponse",
    ".iamd.v1.ListPermissionsResponse",
    ".iamd.v1.ListPrincipalsResponse",
    ".iamd.v1.ListContextKeysResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    // Source info is left out: prost looks up a comment for every message, and a map's entry has no place for one.
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
        file.service.iter_mut().for_each(keep_encoded);
    }
    let mut build = tonic_prost_build::configure();
    for message in WRITTEN {
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
    build
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .extern_path(".iamd.v1.Encoded", "crate::service::Encoded")
        .compile_fds(generated)?;
    Ok(())
}

/// Turns map fields into plain repeated messages. The bytes are the same, and repeated keys become visible.
fn show_map_entries(message: &mut DescriptorProto) {
    for nested in &mut message.nested_type {
        if let Some(options) = &mut nested.options {
            options.map_entry = None;
        }
        show_map_entries(nested);
    }
}

/// Replaces the messages in [`ENCODED`] by one type that holds the bytes of any message. The bytes are the same.
fn keep_encoded(service: &mut ServiceDescriptorProto) {
    for method in &mut service.method {
        for message in [&mut method.input_type, &mut method.output_type] {
            if message
                .as_deref()
                .is_some_and(|name| ENCODED.contains(&name))
            {
                *message = Some(".iamd.v1.Encoded".to_owned());
            }
        }
    }
}
