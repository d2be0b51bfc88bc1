//! The settings of an image, from the last stage of a Dockerfile, so that they are written once.

use serde_json::{Map, Value, json};

use crate::report::Failure;

/// The `config` of an image with what the last stage says
/// (<https://github.com/opencontainers/image-spec/blob/main/config.md>).
pub(super) fn settings(dockerfile: &str) -> Result<Value, Failure> {
    let mut settings = Map::new();
    for line in dockerfile.lines().map(str::trim) {
        let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (name, value) = match instruction {
            "FROM" => {
                settings.clear();
                continue;
            }
            "CMD" => ("Cmd", words(rest)?),
            "ENTRYPOINT" => ("Entrypoint", words(rest)?),
            "ENV" => ("Env", rest.split(' ').collect()),
            "EXPOSE" => ("ExposedPorts", json!({format!("{rest}/tcp"): {}})),
            "HEALTHCHECK" => ("Healthcheck", health_check(rest)?),
            "STOPSIGNAL" => ("StopSignal", rest.into()),
            "USER" => ("User", rest.into()),
            _ => continue,
        };
        settings.insert(name.to_owned(), value);
    }
    match settings.contains_key("Entrypoint") {
        true => Ok(settings.into()),
        false => Err(Failure::new("the last stage of the Dockerfile has no ENTRYPOINT")),
    }
}

/// A health check is not part of the OCI's form; engines that know none leave it out.
fn health_check(text: &str) -> Result<Value, Failure> {
    let (options, command) =
        text.split_once("CMD ").ok_or_else(|| Failure::new("HEALTHCHECK has no CMD"))?;
    let mut check = Map::new();
    for option in options.split_whitespace() {
        let (name, value) = match option.split_once('=') {
            Some(("--interval", value)) => ("Interval", value),
            Some(("--start-period", value)) => ("StartPeriod", value),
            Some(("--timeout", value)) => ("Timeout", value),
            _ => return Err(Failure::new(format!("HEALTHCHECK has an unknown option {option}"))),
        };
        let seconds = value.strip_suffix('s').and_then(|seconds| seconds.parse::<u64>().ok());
        let seconds = seconds.ok_or_else(|| Failure::new(format!("{option} is not in seconds")))?;
        check.insert(name.to_owned(), (seconds * 1_000_000_000).into());
    }
    let command = words(command)?;
    let test =
        std::iter::once("CMD".into()).chain(command.as_array().into_iter().flatten().cloned());
    check.insert("Test".to_owned(), test.collect());
    Ok(check.into())
}

/// `["program", "argument"]`
fn words(text: &str) -> Result<Value, Failure> {
    let words: Vec<String> = serde_json::from_str(text)
        .map_err(|why| Failure::new(format!("{text} is not a list of words: {why}")))?;
    Ok(words.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_is_what_counts() {
        let found = settings(
            "FROM rust AS build\nENV A=1\nRUN x\nFROM y\n# ENV no=1\nENV B=2 C=3\nEXPOSE 80\nUSER 1:1\n\
             HEALTHCHECK --interval=10s CMD [\"/p\", \"health\"]\nENTRYPOINT [\"/p\"]\nCMD [\"serve\"]\n",
        );
        let expected = json!({
            "Cmd": ["serve"],
            "Entrypoint": ["/p"],
            "Env": ["B=2", "C=3"],
            "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Interval": 10_000_000_000_u64, "Test": ["CMD", "/p", "health"]},
            "User": "1:1",
        });
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for (wrong, why) in [
            ("FROM y\nCMD [\"a\"]\n", "no ENTRYPOINT"),
            ("FROM y\nENTRYPOINT /p\n", "not a list of words"),
            ("FROM y\nHEALTHCHECK --retries=3 CMD [\"/p\"]\n", "unknown option"),
            ("FROM y\nHEALTHCHECK --interval=1m CMD [\"/p\"]\n", "not in seconds"),
        ] {
            assert!(settings(wrong).unwrap_err().to_string().contains(why), "{wrong}");
        }
    }
}
