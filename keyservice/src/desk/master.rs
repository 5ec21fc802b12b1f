//! Taking a master secret from an operator. It is nowhere but in memory: not in the record, the log or an error.

use super::Desk;
use super::operator::{AdminError, entry};
use crate::kek::Given;
use crate::report::{self, Event};
use crate::server::Operator;
use dawnkey_proto::message::printable;
use dawnkey_proto::seal::Sealed;
use std::sync::Arc;

impl Desk {
    /// Opens the master secret that an operator sealed to [`Self::kek_inbox`], proves it and gives it to its provider. What
    /// waited for it goes on. Both the attempt and its refusal are in the audit log.
    pub async fn give_master(
        self: &Arc<Self>,
        operator: &Operator,
        provider: &str,
        sealed: &Sealed,
    ) -> Result<Given, AdminError> {
        let name = printable(provider);
        let record = entry("give-master-secret", operator).with("provider", name.clone());
        self.audit.append(record).await?;
        match self.take_master(provider, sealed).await {
            Ok(given) => {
                report::emit(&Event::MasterGiven { provider: &name });
                let pending = self.ring.ring().await?.rewrap.is_some();
                if pending && self.ring.waiting().is_empty() {
                    let desk = Arc::clone(self);
                    tokio::spawn(async move { desk.rewrap().await });
                }
                Ok(given)
            }
            Err(error) => {
                let record = entry("master-secret-refused", operator)
                    .with("provider", name)
                    .with("problem", error.to_string());
                self.audit.append(record).await?;
                Err(error)
            }
        }
    }

    async fn take_master(&self, provider: &str, sealed: &Sealed) -> Result<Given, AdminError> {
        let opened = self.kek_inbox()?.open_master(sealed, provider);
        let secret = opened.map_err(|e| AdminError::Invalid(e.to_string()))?;
        Ok(self.ring.give_master(provider, secret).await?)
    }
}
