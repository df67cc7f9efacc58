//! The settings of `iamd serve` as options: from flags, variables and the configuration file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Arg, ArgAction, ArgMatches, FromArgMatches};

use super::Common;
use crate::config::{self, Config, Layer, Resolved, SETTINGS, Setting, Source};

/// The settings that were given as flags, and the configuration file.
#[derive(Debug)]
pub(super) struct Settings {
    file: Option<PathBuf>,
    flags: Layer,
}

impl Settings {
    /// Reads all settings from where they are given.
    pub(super) fn resolve(self, common: &Common) -> anyhow::Result<Resolved> {
        let Self { file, mut flags } = self;
        if let Some(store) = &common.store {
            let store = store
                .to_str()
                .context("the path of the store is not UTF-8")?;
            flags.insert("store".to_owned(), vec![store.to_owned()]);
        }
        let variables = variables()?;
        let path = file.or_else(|| std::env::var_os("IAMD_CONFIG").map(PathBuf::from));
        let file = path.map(|path| read(&path)).transpose()?;
        let file = file
            .as_ref()
            .map(|(name, text)| (name.as_str(), text.as_str()));
        let mut resolved = Config::resolve(&flags, variables, file)?;
        // Other Rust programs read this variable for their log. It counts only if nothing else sets the level.
        if let Some(filter) = std::env::var("RUST_LOG")
            .ok()
            .filter(|filter| !filter.is_empty())
            && resolved.sources.get("log_level") == Some(&Source::Default)
        {
            let source = Source::Variable("RUST_LOG".to_owned());
            resolved.sources.insert("log_level", source);
            resolved.texts.insert("log_level", vec![filter.clone()]);
            resolved.config.log_level = filter;
        }
        Ok(resolved)
    }
}

/// Returns the configuration file's name and text.
fn read(path: &Path) -> anyhow::Result<(String, String)> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file `{name}`"))?;
    Ok((name, text))
}

/// Returns the environment variables that may be settings.
fn variables() -> anyhow::Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name
            .into_string()
            .ok()
            .filter(|name| name.starts_with("IAMD_"))
        else {
            continue;
        };
        let Ok(value) = value.into_string() else {
            bail!("the variable `{name}` is not UTF-8")
        };
        variables.push((name, value));
    }
    Ok(variables)
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Layer::new();
        for setting in own_settings() {
            if let Some(values) = matches.get_many::<String>(setting.key) {
                settings.insert(setting.key.to_owned(), values.cloned().collect());
            }
        }
        Ok(Self {
            file: matches.get_one::<PathBuf>("config").cloned(),
            flags: settings,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flags are made from the table of settings, so that no flag can be missing or differ from its setting.
impl clap::Args for Settings {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A configuration file in YAML, with the keys of these flags [env: IAMD_CONFIG]");
        command.arg(file).args(own_settings().map(flag))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// Returns all settings except `store`, which every command has.
fn own_settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.key != "store")
}

fn flag(setting: &'static Setting) -> Arg {
    let variable = config::variable(setting.key);
    let help = format!(
        "{} [env: {variable}] [default: {}]",
        setting.help, setting.default
    );
    let flag = Arg::new(setting.key)
        .long(config::flag(setting.key))
        .help(help);
    match (setting.key, setting.value) {
        (_, value) if setting.is_list() => flag.value_name(value).action(ArgAction::Append),
        (_, "") => flag
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("true|false"),
        (_, value) => flag.value_name(value),
    }
}
