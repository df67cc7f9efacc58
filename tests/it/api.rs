//! The API reference, `docs/api.md`: it is made from the comments of the protocol, and must be up to date.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::{env, fs};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

use super::support::repository;

const PROTO: &str = "iamd/v1/authorization.proto";

// The numbers of fields in descriptor.proto, of which the path of a comment consists.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const SERVICES: i32 = 6;
/// Fields of a message, values of an enum and methods of a service all have this number in their parent.
const MEMBERS: i32 = 2;

#[test]
fn the_api_reference_is_that_of_the_protocol() {
    let page = repository().join("docs/api.md");
    let made = reference();
    if env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(&page, &made).unwrap();
    }
    let kept = fs::read_to_string(&page).unwrap_or_default();
    assert!(
        kept == made,
        "docs/api.md is not that of proto/{PROTO}: run `INSTA_UPDATE=always cargo test --test it api::` and review the diff"
    );
}

#[test]
fn every_name_of_the_protocol_has_a_comment() {
    let (file, comments) = read_protocol();
    let mut n_names = 0;
    for (number, message) in (0..).zip(&file.message_type) {
        for member in 0..message.field.len() {
            assert!(
                comments.contains_key(&vec![MESSAGES, number, MEMBERS, index(member)]),
                "{}: field {member}",
                message.name()
            );
            n_names += 1;
        }
    }
    assert!(n_names > 100, "{n_names} fields");
}

type Comments = BTreeMap<Vec<i32>, String>;

/// Returns the protocol and its comments, by what they are about.
fn read_protocol() -> (FileDescriptorProto, Comments) {
    let mut compiler = protox::Compiler::new([repository().join("proto")]).unwrap();
    compiler.include_source_info(true).open_file(PROTO).unwrap();
    let files = compiler.file_descriptor_set().file;
    let file = files.into_iter().find(|file| file.name() == PROTO).unwrap();
    let locations = &file.source_code_info.as_ref().unwrap().location;
    let comments = locations.iter().filter_map(|location| {
        let lines = location.leading_comments.as_ref()?.lines();
        let text: Vec<_> = lines.map(str::trim).collect();
        Some((location.path.clone(), text.join("\n").trim().to_owned()))
    });
    let comments = comments.collect();
    (file, comments)
}

fn reference() -> String {
    let (file, comments) = read_protocol();
    let comment = |path: &[i32]| comments.get(path).map_or("", String::as_str);
    // A table's row is one line.
    let row = |path: &[i32]| comment(path).replace('\n', " ").replace('|', "\\|");
    let mut page = format!(
        "# API reference\n\nThis page is made from the comments of [proto/{PROTO}](../proto/{PROTO}), and a test compares the two.\n\
         After a change of the protocol run `INSTA_UPDATE=always cargo test --test it api::`.\n\n"
    );
    for (number, service) in (0..).zip(&file.service) {
        let about = comment(&[SERVICES, number]);
        write!(page, "## {}\n\n{about}\n\n", service.name()).unwrap();
        for (member, method) in (0..).zip(&service.method) {
            let about = comment(&[SERVICES, number, MEMBERS, member]);
            let stream = |is_one| if is_one { "a stream of " } else { "" };
            let takes = stream(method.client_streaming()).to_owned() + &link(method.input_type());
            let gives = stream(method.server_streaming()).to_owned() + &link(method.output_type());
            write!(
                page,
                "### {}\n\nTakes {takes}, gives {gives}.\n\n{about}\n\n",
                method.name()
            )
            .unwrap();
        }
    }
    page.push_str("## Messages\n\n");
    for (number, message) in (0..).zip(&file.message_type) {
        let about = comment(&[MESSAGES, number]);
        write!(page, "### {}\n\n{about}\n\n", message.name()).unwrap();
        if message.field.is_empty() {
            continue;
        }
        page.push_str("| no. | field | type | meaning |\n| --- | --- | --- | --- |\n");
        for (member, field) in (0..).zip(&message.field) {
            let about = row(&[MESSAGES, number, MEMBERS, member]);
            let (no, name, kind) = (field.number(), field.name(), kind(message, field));
            writeln!(page, "| {no} | `{name}` | {kind} | {about} |").unwrap();
        }
        page.push('\n');
    }
    page.push_str("## Enums\n\n");
    for (number, values) in (0..).zip(&file.enum_type) {
        let about = comment(&[ENUMS, number]);
        write!(page, "### {}\n\n{about}\n\n", values.name()).unwrap();
        page.push_str("| no. | value | meaning |\n| --- | --- | --- |\n");
        for (member, value) in (0..).zip(&values.value) {
            let about = row(&[ENUMS, number, MEMBERS, member]);
            writeln!(
                page,
                "| {} | `{}` | {about} |",
                value.number(),
                value.name()
            )
            .unwrap();
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

/// Returns the type of a field, as the protocol writes it, with a link to messages and enums of this page.
fn kind(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let simple = match field.r#type() {
        Type::Message | Type::Enum => link(field.type_name()),
        Type::String => "string".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Uint32 => "uint32".to_owned(),
        Type::Uint64 => "uint64".to_owned(),
        Type::Int32 => "int32".to_owned(),
        other => panic!("{}.{}: {other:?}", message.name(), field.name()),
    };
    let entry = message.nested_type.iter().find(|nested| {
        nested
            .options
            .as_ref()
            .is_some_and(|options| options.map_entry())
            && field.type_name().ends_with(&format!(".{}", nested.name()))
    });
    if let Some(entry) = entry {
        let value = entry
            .field
            .iter()
            .find(|field| field.number() == 2)
            .unwrap();
        return format!("map of string to {}", kind(entry, value));
    }
    match field.oneof_index {
        _ if field.label() == Label::Repeated => format!("repeated {simple}"),
        Some(_) if field.proto3_optional() => format!("optional {simple}"),
        Some(one) => format!(
            "{simple}, one of `{}`",
            message.oneof_decl[one as usize].name()
        ),
        None => simple,
    }
}

/// Returns the name of a message or an enum, with a link if it is on this page.
fn link(name: &str) -> String {
    match name.strip_prefix(".iamd.v1.") {
        Some(own) if !own.contains('.') => format!("[{own}](#{})", own.to_lowercase()),
        _ => format!("`{}`", name.trim_start_matches('.')),
    }
}

fn index(member: usize) -> i32 {
    member.try_into().unwrap()
}
