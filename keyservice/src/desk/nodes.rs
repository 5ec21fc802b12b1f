//! Approval of new nodes, and revocation: looked up at every request, so that a decision holds from the next one on.

use super::Desk;
use super::case::Case;
use super::commit::{audit_refusal, store_refusal};
use super::operator::{AdminError, entry};
use super::unlock::{No, refusal};
use crate::nodes::{Introduction, NodeRecord, Standing};
use crate::server::Operator;
use crate::volume::InstanceId;
use dawnkey_proto::message::{Reason, Refusal, Retry};
use dawnkey_store::StoreError;

/// How often a decision is tried anew because somebody else changed the record.
const ATTEMPTS: usize = 16;
/// Most nodes that may wait for an operator: more are refused without a record.
const MOST_PENDING: usize = 1000;
/// When a node that waits for an operator asks again, in seconds.
const ASK_AGAIN: u32 = 30;

impl Desk {
    /// How a node stands; refuses one that an operator has shut out.
    pub(super) async fn standing(&self, node: InstanceId) -> Result<Option<Standing>, Refusal> {
        let standing = match self.records.node(node).await {
            Ok(found) => found.record.standing,
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(other) => return Err(store_refusal(&other)),
        };
        if standing.shut_out() {
            return Err(refusal(
                Reason::NodeRevoked,
                format!("an operator has {} node {node}", verb(standing)),
                "`dawnkey node approve` lets it in again",
                Retry::Never,
            ));
        }
        Ok(Some(standing))
    }

    /// Lets a node pass that an operator has approved; records any other one, to be decided about.
    pub(super) async fn approved(
        &self,
        node: InstanceId,
        standing: Option<Standing>,
        introduction: Introduction,
        case: &Case,
    ) -> Result<(), No> {
        if standing == Some(Standing::Approved) {
            return Ok(());
        }
        let waits = |detail: String| {
            let remedy = "approve it with `dawnkey node approve`";
            let again = Retry::After(ASK_AGAIN);
            No::from(refusal(Reason::NodeNotApproved, detail, remedy, again))
        };
        if standing.is_none() {
            let known = self.records.nodes().await.map_err(|e| store_refusal(&e))?;
            let pending = |node: &&NodeRecord| node.standing == Standing::Pending;
            if known.iter().filter(pending).count() >= MOST_PENDING {
                return Err(waits(format!(
                    "{MOST_PENDING} nodes wait for an operator already"
                )));
            }
            let entry = case.entry("node-pending");
            self.audit
                .append(entry)
                .await
                .map_err(|e| No::Busy(audit_refusal(&e)))?;
            let record = NodeRecord::pending(node, introduction, self.now());
            match self.records.create_node(&record).await {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(other) => return Err(store_refusal(&other).into()),
            }
        }
        Err(waits(format!("node {node} waits for an operator")))
    }

    /// Every node that an operator has decided about or that waits for it.
    pub async fn list_nodes(&self) -> Result<Vec<NodeRecord>, AdminError> {
        self.records.nodes().await.map_err(AdminError::Store)
    }

    /// Approves, denies or revokes a node; one that has never come may be decided about too.
    pub async fn decide_node(
        &self,
        operator: &Operator,
        node: InstanceId,
        standing: Standing,
    ) -> Result<NodeRecord, AdminError> {
        let event = match standing {
            Standing::Approved => "approve-node",
            Standing::Denied => "deny-node",
            Standing::Revoked => "revoke-node",
            Standing::Pending => {
                return Err(AdminError::Invalid("nobody decides to wait".into()));
            }
        };
        let entry = entry(event, operator).with("instance", node.to_string());
        for _ in 0..ATTEMPTS {
            let found = match self.records.node(node).await {
                Ok(found) => Some(found),
                Err(StoreError::Missing { .. }) => None,
                Err(other) => return Err(AdminError::Store(other)),
            };
            let now = self.now();
            let (version, before) = match found {
                Some(found) => (Some(found.version), found.record),
                None => (None, NodeRecord::announced(node, now)),
            };
            let after = before.decided(standing, operator.certificate(), now);
            // Written down first: a node must not be let in or shut out unseen.
            self.audit.append(entry.clone()).await?;
            let done = match version {
                Some(version) => self.records.swap_node(version, &after).await,
                None => self.records.create_node(&after).await,
            };
            match done {
                Ok(()) => return Ok(after),
                Err(StoreError::Conflict { .. } | StoreError::Exists { .. }) => {}
                Err(other) => return Err(AdminError::Store(other)),
            }
        }
        let busy = StoreError::Unavailable("the record keeps changing".into());
        Err(AdminError::Store(busy))
    }
}

const fn verb(standing: Standing) -> &'static str {
    match standing {
        Standing::Revoked => "revoked",
        _ => "denied",
    }
}
