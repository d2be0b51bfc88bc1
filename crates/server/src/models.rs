//! `models`: what this account can use, as a table.

use code_assist_core::settings::Settings;
use tokio::sync::watch;

use crate::app::Parts;
use crate::store::Store;
use crate::{Failure, print};

/// Prints the models of this account.
pub(crate) async fn run(settings: Settings) -> Result<(), Failure> {
    let (store, notice) = Store::open(&settings).await;
    if let Some(notice) = notice {
        crate::warn(&notice);
    }
    let (_keep, never) = watch::channel(false);
    let parts = Parts::assemble(settings, store, never)
        .map_err(|error| Failure::Runtime(error.to_string()))?;
    let (models, own) = parts
        .proxy
        .models(&parts.native)
        .await
        .map_err(|refusal| Failure::Runtime(refusal.message()))?;

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
