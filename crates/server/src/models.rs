//! `models`: lists the models that each upstream has.

use code_assist_core::settings::Settings;
use code_assist_core::{ListedModel, UpstreamModels};
use tokio::sync::watch;

use crate::app::App;
use crate::store::Store;
use crate::{CommandError, print};

pub(crate) async fn run(settings: Settings) -> Result<(), CommandError> {
    let (store, notice) = Store::open(&settings).await;
    if let Some(notice) = notice {
        crate::warn(&notice);
    }
    let (_sender, abort) = watch::channel(false);
    let App { proxy, platform } =
        App::assemble(settings, store, abort).map_err(CommandError::runtime)?;
    let upstreams = proxy.models(&platform).await;
    let are_several = upstreams.len() > 1;
    let mut failed = None;
    for UpstreamModels { upstream, provider, models } in upstreams {
        if are_several {
            let provider = match provider == &*upstream {
                true => String::new(),
                false => format!(" ({provider})"),
            };
            print(&format!("{upstream}{provider}\n"));
        }
        match models {
            Ok(models) if provider == "code-assist" => print(&with_quotas(&models)),
            Ok(models) => print(&with_methods(&models)),
            Err(error) if are_several => {
                print(&format!("FAILED: {}\n", error.message()));
                failed = Some(CommandError::Reported);
            }
            Err(error) => failed = Some(CommandError::runtime(error.message())),
        }
        if are_several {
            print("\n");
        }
    }
    failed.map_or(Ok(()), Err)
}

fn with_quotas(models: &[ListedModel]) -> String {
    let quota = |model: &ListedModel| if model.is_named { "yes" } else { "-" }.to_owned();
    let mut table = table(models, "QUOTA", quota);
    table.push_str("\nQUOTA: the account's quota names this model. The others are built in; asking them may end in 404.\n");
    table
}

fn with_methods(models: &[ListedModel]) -> String {
    table(models, "METHODS", |model| model.methods.join(", "))
}

fn table(models: &[ListedModel], last: &str, cell: impl Fn(&ListedModel) -> String) -> String {
    let width = models.iter().map(|model| model.id.len()).max().unwrap_or(0).max("MODEL".len());
    let mut table = format!("{:width$}  {:>9}  {:>7}  {last}\n", "MODEL", "INPUT", "OUTPUT");
    for model in models {
        let limit = |number: fn((u32, u32)) -> u32| {
            model.limits.map_or_else(|| "-".to_owned(), |limits| number(limits).to_string())
        };
        table.push_str(&format!(
            "{:width$}  {:>9}  {:>7}  {}\n",
            model.id,
            limit(|(input, _)| input),
            limit(|(_, output)| output),
            cell(model),
        ));
    }
    table
}
