//! `models`: lists the models that this account can use.

use code_assist_core::settings::Settings;
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
    let (models, own) =
        proxy.models(&platform).await.map_err(|error| CommandError::runtime(error.message()))?;

    let width = models.iter().map(|model| model.id.len()).max().unwrap_or(0).max("MODEL".len());
    let mut table = format!("{:width$}  {:>9}  {:>7}  {}\n", "MODEL", "INPUT", "OUTPUT", "QUOTA");
    for model in &models {
        let quota = if own.iter().any(|id| *id == *model.id) { "yes" } else { "-" };
        table.push_str(&format!(
            "{:width$}  {:>9}  {:>7}  {quota}\n",
            model.id, model.input_token_limit, model.output_token_limit,
        ));
    }
    table.push_str("\nQUOTA: the account's quota names this model. The others are built in; asking them may end in 404.\n");
    print(&table);
    Ok(())
}
