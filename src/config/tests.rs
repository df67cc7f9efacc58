#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::read::{duration, log_filter, size};
use super::*;

fn flags(pairs: &[(&str, &str)]) -> Layer {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()]))
        .collect()
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn error(flags: &Layer, file: Option<&str>) -> String {
    let file = file.map(|text| ("iamd.yaml", text));
    format!(
        "{:#}",
        Config::resolve(flags, variables(&[]), file).unwrap_err()
    )
}

#[test]
fn without_any_setting_the_defaults_hold() {
    let config = Config::resolve(&Layer::new(), variables(&[("HOME", "/x")]), None)
        .unwrap()
        .config;
    assert_eq!(config.limits, Limits::DEFAULT);
    assert_eq!(config.max_message_bytes, MAX_MESSAGE_BYTES);
    assert_eq!(config.listen, [DEFAULT_SERVER.parse().unwrap()]);
    assert_eq!(config.store, PathBuf::from("policies"));
    assert_eq!(config.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.worker_threads, None);
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let file =
        "# mine\nstore: from-file\ndrain_timeout: 3s\nmax_list_values: 7\nlog_format: json\n";
    let variables = variables(&[
        ("IAMD_STORE", "from-variable"),
        ("IAMD_DRAIN_TIMEOUT", "2s"),
    ]);
    let resolved = Config::resolve(
        &flags(&[("store", "from-flag")]),
        variables,
        Some(("iamd.yaml", file)),
    )
    .unwrap();
    assert_eq!(resolved.config.store, PathBuf::from("from-flag"));
    assert_eq!(resolved.config.drain_timeout, Duration::from_secs(2));
    assert_eq!(resolved.config.limits.max_list_values, 7);
    assert_eq!(resolved.sources.get("store"), Some(&Source::Flag));
    assert_eq!(
        resolved.sources.get("drain_timeout"),
        Some(&Source::Variable("IAMD_DRAIN_TIMEOUT".into()))
    );
    let file = Source::File("iamd.yaml".into());
    assert_eq!(resolved.sources.get("log_format"), Some(&file));
    assert_eq!(resolved.sources.get("listen"), Some(&Source::Default));
}

#[test]
fn listen_is_a_list_everywhere() {
    let expected: Vec<Address> = vec!["127.0.0.1:1".parse().unwrap(), "unix:/x".parse().unwrap()];
    let file = Config::resolve(
        &Layer::new(),
        variables(&[]),
        Some(("iamd.yaml", "listen: ['127.0.0.1:1', 'unix:/x']")),
    )
    .unwrap();
    assert_eq!(file.config.listen, expected);
    let variable = variables(&[("IAMD_LISTEN", "127.0.0.1:1, unix:/x")]);
    assert_eq!(
        Config::resolve(&Layer::new(), variable, None)
            .unwrap()
            .config
            .listen,
        expected
    );
}

#[test]
fn an_unknown_key_is_an_error_and_an_unknown_variable_a_warning() {
    assert_eq!(
        error(&Layer::new(), Some("drain_timeot: 1s")),
        "the configuration file `iamd.yaml`: unknown key `drain_timeot`: did you mean `drain_timeout`?"
    );
    let kubernetes = variables(&[
        ("IAMD_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("IAMD_STOR", "x"),
    ]);
    let warnings = Config::resolve(&Layer::new(), kubernetes, None)
        .unwrap()
        .warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings
            .first()
            .is_some_and(|one| one.ends_with("did you mean `IAMD_STORE`?")),
        "{warnings:?}"
    );
    assert!(
        warnings
            .get(1)
            .is_some_and(|one| one.contains("Kubernetes")),
        "{warnings:?}"
    );
}

#[test]
fn an_error_names_the_place_and_the_text() {
    assert_eq!(
        error(&flags(&[("drain_timeout", "5")]), None),
        "`--drain-timeout`: `5`: must be a number with one of the units ms, s, m and h, such as `5s`"
    );
    assert!(
        error(&Layer::new(), Some("max_list_values: 0"))
            .starts_with("the key `max_list_values` of the configuration file: `0`: ")
    );
    for bad in [
        "store: [a, b]",
        "store: {a: b}",
        "- a",
        "listen: []",
        "store: 1\nstore: 2",
        "max_list_values: ~",
        "a",
    ] {
        assert!(
            Config::resolve(&Layer::new(), variables(&[]), Some(("iamd.yaml", bad))).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn beyond_loopback_needs_a_written_out_word() {
    for open in [
        "0.0.0.0:50051",
        "[::]:50051",
        "192.0.2.1:1",
        "[::ffff:192.0.2.1]:1",
    ] {
        assert!(
            error(&flags(&[("listen", open)]), None).contains("--insecure-plaintext"),
            "{open}"
        );
        for also in [
            &[("insecure_plaintext", "true")][..],
            &[("tls_certificate", "a"), ("tls_key", "b")],
        ] {
            let accepted = flags(&[&[("listen", open)], also].concat());
            assert!(
                Config::resolve(&accepted, variables(&[]), None).is_ok(),
                "{open}"
            );
        }
    }
    for local in [
        "127.0.0.1:0",
        "127.9.9.9:1",
        "[::1]:1",
        "localhost:1",
        "unix:/run/iamd.sock",
        "unix:///run/iamd.sock",
    ] {
        assert!(
            Config::resolve(&flags(&[("listen", local)]), variables(&[]), None).is_ok(),
            "{local}"
        );
    }
    let http = |text: &str| {
        let resolved = Config::resolve(&flags(&[("http_listen", text)]), variables(&[]), None);
        resolved.map(|resolved| resolved.config.http_listen)
    };
    assert_eq!(http("none").unwrap(), None);
    assert_eq!(http("127.0.0.1:1").unwrap(), "127.0.0.1:1".parse().ok());
    assert!(error(&flags(&[("http_listen", "0.0.0.0:1")]), None).contains("--insecure-plaintext"));
    for bad in ["", "off", "9464", "unix:/x"] {
        assert!(http(bad).is_err(), "{bad}");
    }
    for bad in [
        "",
        "50051",
        ":50051",
        "example.com:1",
        "unix:",
        "127.0.0.1",
        "127.0.0.1:65536",
    ] {
        assert!(Address::from_str(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_certificate_comes_with_its_key() {
    for (given, missing) in [
        (&[("tls_certificate", "a")][..], "`--tls-key`"),
        (&[("tls_key", "a")], "`--tls-certificate`"),
        (&[("tls_client_ca", "a")], "`--tls-certificate`"),
    ] {
        let error = error(&flags(given), None);
        assert!(error.contains(missing), "{given:?}: {error}");
    }
    assert!(error(&flags(&[("tls_key", "")]), None).contains("`none`"));
}

#[test]
fn callers_who_can_connect_nowhere_are_told() {
    let warnings = |callers: &str, listen: &[&str]| {
        let mut flags = flags(&[("callers", callers), ("tls_client_ca", "a")]);
        flags.extend(self::flags(&[("tls_certificate", "b"), ("tls_key", "c")]));
        let listen = listen.iter().map(|address| (*address).to_owned());
        flags.insert("listen".to_owned(), listen.collect());
        flags.insert("http_listen".to_owned(), vec!["none".to_owned()]);
        Config::resolve(&flags, [], None).unwrap().warnings
    };
    let (port, socket) = ("127.0.0.1:0", "unix:/run/iamd.sock");
    for (callers, listen, who) in [
        ("uid:1000", &[port][..], "`uid:1000`"),
        ("web.example,gid:7", &[port], "`gid:7`"),
        ("web.example", &[socket], "`web.example`"),
    ] {
        let told = warnings(callers, listen).join(" ");
        assert!(told.contains(who), "{told}");
    }
    for (callers, listen) in [
        ("anyone", &[port][..]),
        ("anyone", &[socket]),
        ("uid:1000,web.example", &[port, socket]),
    ] {
        assert_eq!(warnings(callers, listen), Vec::<String>::new(), "{callers}");
    }
}

#[test]
fn a_default_deadline_lets_calls_be_answered() {
    let error = error(&flags(&[("default_deadline", "0s")]), None);
    assert!(error.contains("at least `1ms`"), "{error}");
}

#[test]
fn callers_are_named_in_a_few_ways() {
    let read = |list: &str| {
        let flags = flags(&[("callers", list), ("tls_client_ca", "a")]);
        let also = self::flags(&[("tls_certificate", "b"), ("tls_key", "c")]);
        let flags = flags.into_iter().chain(also).collect();
        Config::resolve(&flags, [], None).map(|resolved| resolved.config.callers)
    };
    let callers =
        read("spiffe://example.org/a, WEB.example=disclose,uid:0=authorize,gid:7").unwrap();
    let shown: Vec<_> = callers
        .iter()
        .map(|caller| (caller.who.to_string(), caller.rights))
        .collect();
    let expected = [
        ("spiffe://example.org/a", Rights::Authorize),
        ("web.example", Rights::Disclose),
        ("uid:0", Rights::Authorize),
        ("gid:7", Rights::Authorize),
    ];
    assert_eq!(
        shown,
        expected.map(|(who, rights)| (who.to_owned(), rights))
    );
    for bad in [
        "",
        "a,",
        "a=",
        "a=admin",
        "a=disclose=disclose",
        "=disclose",
        "uid:",
        "uid:-1",
        "uid:root",
        "gid:4294967296",
        "https://example.org/a",
        "spiffe://example.org/a/",
        "spiffe://example.org/*",
        "*.example",
        "a b",
        "anyone=disclose",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    for needs in ["spiffe://example.org/a", "uid:0,web.example=disclose"] {
        let error = error(&flags(&[("callers", needs)]), None);
        assert!(error.contains("--tls-client-ca"), "{needs}: {error}");
    }
    let file = Some(("iamd.yaml", "callers: ['uid:0', 'gid:0,gid:1=disclose']"));
    let of_file = Config::resolve(&Layer::new(), [], file).unwrap().config;
    assert_eq!(of_file.callers.len(), 3);
}

#[test]
fn sizes_and_durations_have_units_and_levels_have_names() {
    assert_eq!(size("64KiB").unwrap(), 65_536);
    assert_eq!(size("12").unwrap(), 12);
    assert_eq!(duration("1500ms").unwrap(), Duration::from_millis(1500));
    assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
    assert!(log_filter("inof").is_err() && log_filter("info,iamd::store=debug").is_ok());
    for bad in ["", "0", "-1", "1KB", "1.5MiB", "99999999999999999999MiB"] {
        assert!(size(bad).is_err(), "{bad}");
    }
    for bad in ["", "5", "s", "1.5s", "5 s", "-5s", "99999999999999999h"] {
        assert!(duration(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_default_in_the_table_is_read() {
    assert!(
        Config::resolve(
            &Layer::new(),
            variables(&[]),
            Some(("iamd.yaml", "# nothing\n\n"))
        )
        .is_ok()
    );
    for setting in SETTINGS {
        let flags = Layer::from([(setting.key.to_owned(), vec![setting.default.to_string()])]);
        let written = Config::resolve(&flags, [], None).unwrap().config;
        let unsaid = Config::resolve(&Layer::new(), [], None).unwrap().config;
        assert_eq!(written, unsaid, "{}", setting.key);
    }
    let keys: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
    assert!(
        keys.iter().all(|key| key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')),
        "{keys:?}"
    );
}

#[test]
fn a_count_beyond_what_the_system_bears_is_refused() {
    for (flag, text) in [
        ("max_connections", "18446744073709551615"),
        ("worker_threads", "40000"),
    ] {
        let flags = Layer::from([(flag.to_owned(), vec![text.to_owned()])]);
        let error = Config::resolve(&flags, [], None).unwrap_err();
        assert!(format!("{error:#}").contains("at most"), "{error:#}");
    }
}

#[test]
fn the_decision_cache_has_three_modes() {
    let read = |text: &str| {
        let flags = Layer::from([("decision_cache".to_owned(), vec![text.to_owned()])]);
        Config::resolve(&flags, [], None).map(|resolved| resolved.config.decision_cache)
    };
    assert_eq!(read("off").unwrap(), DecisionCache::Off);
    assert_eq!(read("auto").unwrap(), DecisionCache::Auto);
    assert_eq!(read("always").unwrap(), DecisionCache::Always);
    let error = format!("{:#}", read("on").unwrap_err());
    assert!(error.contains("`off`, `auto` or `always`"), "{error}");
    let defaults = Config::resolve(&Layer::new(), [], None).unwrap().config;
    assert_eq!(defaults.decision_cache, DecisionCache::Auto);
}

#[test]
fn defaults_are_shown_as_one_would_write_them() {
    let shown = |key: &str| {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
        setting.default.to_string()
    };
    assert_eq!(shown("max_message_bytes"), "4MiB");
    assert_eq!(shown("max_question_bytes"), "64KiB");
    assert_eq!(shown("max_list_values"), "1024");
    assert_eq!(shown("drain_timeout"), "5s");
    assert_eq!(Written::Bytes(1000).to_string(), "1000");
}
