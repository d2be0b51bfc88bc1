//! The parts that a build may leave out (Cargo features), and the error for a setting that needs one
//! of them.

use code_assist_core::settings::{KvUrl, Problem, Settings};

/// What `settings` ask for and this build does not have.
pub(crate) fn problem(settings: &Settings) -> Option<Problem> {
    let needs_redis = matches!(settings.kv_url, KvUrl::Redis(_));
    if needs_redis && !cfg!(feature = "redis") {
        let text = "this build has no Redis support: build with `--features redis`, or use \
                    KV_URL=file:PATH";
        return Some(Problem { name: "KV_URL".to_owned(), text: text.to_owned() });
    }
    let tracing = settings.tracing.as_ref().filter(|_| !cfg!(feature = "otel"))?;
    let text = "this build sends no spans: build with `--features otel`, or unset it, or set \
                OTEL_SDK_DISABLED=true";
    Some(Problem { name: tracing.endpoint_from.to_owned(), text: text.to_owned() })
}

/// The problem with `serve --emulator` in a build without the emulator.
pub(crate) fn emulator_problem() -> Option<Problem> {
    (!cfg!(feature = "emulator")).then(|| Problem {
        name: "serve --emulator".to_owned(),
        text: "this build has no emulator: build with `--features emulator`, or run the program \
               code-assist-emulator and set CODE_ASSIST_ENDPOINT to its address"
            .to_owned(),
    })
}
