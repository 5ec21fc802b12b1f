//! The gRPC service for operators: a thin coat over the desk.

use super::stream::{Caller, Operator};
use crate::desk::{AdminError, Adoption, Desk, Import};
use crate::kek::RingError;
use crate::kubernetes::Shown;
use crate::nodes::{NodeRecord, Standing};
use crate::volume::{Digest32, InstanceRecord, Kind, VolumeRecord};
use dawnkey_proto::message::printable;
use dawnkey_proto::wire;
use dawnkey_proto::wire::admin_server::Admin;
use jiff::Timestamp;
use std::future::Future;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

/// Answers operators, about the ring too ([`super::keks`]).
#[derive(Clone)]
pub(super) struct Admins {
    pub desk: Arc<Desk>,
    pub tasks: TaskTracker,
}

pub(super) type Answer<T> = Result<Response<T>, Status>;

pub(super) fn operator<T>(request: &Request<T>) -> Result<Operator, Status> {
    match request.extensions().get::<Caller>() {
        Some(Caller::Operator(operator)) => Ok(operator.clone()),
        _ => Err(Status::unauthenticated("no admin certificate")),
    }
}

pub(super) fn status(error: &AdminError) -> Status {
    let code = match error {
        AdminError::NotFound(_) => Code::NotFound,
        AdminError::Exists(_) => Code::AlreadyExists,
        AdminError::Invalid(_) => Code::InvalidArgument,
        AdminError::State(_) | AdminError::Kek(RingError::Refused(_)) => Code::FailedPrecondition,
        AdminError::Store(_) | AdminError::Audit(_) | AdminError::Kek(_) => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

pub(super) fn uuid(field: &str, bytes: &[u8]) -> Result<Uuid, Status> {
    Uuid::from_slice(bytes).map_err(|_| {
        Status::invalid_argument(format!("{field}: {} bytes instead of 16", bytes.len()))
    })
}

fn volume_id(bytes: &[u8]) -> Result<Uuid, Status> {
    uuid("volume_id", bytes)
}

fn adoption(asked: wire::AdoptVolumeRequest) -> Result<Adoption, Status> {
    let given = |text: String| (!text.is_empty()).then(|| printable(&text));
    let invalid = |problem: String| Err(Status::invalid_argument(problem));
    let kind = match asked.kind.as_str() {
        "migrated" => Kind::Own,
        "adopted" => Kind::Adopted,
        other => {
            let found = printable(other);
            return invalid(format!(
                "kind: `{found}` instead of `migrated` or `adopted`"
            ));
        }
    };
    let Ok(digest) = asked.header_digest.as_slice().try_into() else {
        let bytes = asked.header_digest.len();
        return invalid(format!("header_digest: {bytes} bytes instead of 32"));
    };
    if asked.generation == 0 || asked.epoch == 0 {
        return invalid("generation and epoch: both start at 1".into());
    }
    Ok(Adoption {
        volume: volume_id(&asked.volume_id)?,
        policy: given(asked.policy),
        label: given(asked.label),
        kind,
        epoch: asked.epoch,
        generation: asked.generation,
        digest: Digest32(digest),
    })
}

pub(super) fn time(at: Option<Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

fn volume(record: VolumeRecord) -> wire::VolumeRecord {
    wire::VolumeRecord {
        volume_id: record.id.as_bytes().to_vec(),
        label: record.label,
        policy: record.policy,
        state: record.state.name().to_owned(),
        epoch: record.epoch,
        generation: record.confirmed,
        pending_generation: record.pending.map_or(0, |p| p.generation),
        instance: record.instance.map(|i| i.to_string()).unwrap_or_default(),
        lease_expires: time(record.lease.as_ref().map(|l| l.expires)),
        lease_holder: record
            .lease
            .map(|l| l.holder.to_string())
            .unwrap_or_default(),
        fencing_token: record.fencing,
        created: record.created.to_string(),
        last_unlock: time(record.last_unlock),
        next_epoch: record.next_epoch.unwrap_or_default(),
        held: record.holding.is_some(),
        kind: record.kind.name().to_owned(),
        ready_bytes: record.progress.map_or(0, |p| p.ready_bytes),
        total_bytes: record.progress.map_or(0, |p| p.total_bytes),
    }
}

fn instance(record: InstanceRecord, last_seen: Option<Timestamp>) -> wire::InstanceRecord {
    wire::InstanceRecord {
        instance: record.instance.to_string(),
        kind: record.kind,
        endorsement: record.endorsement,
        enrolled: record.enrolled.to_string(),
        last_seen: time(last_seen),
    }
}

impl Admins {
    /// Runs to its end even when the operator hangs up, and counts the outcome.
    pub(super) async fn done<T: Send + 'static>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, AdminError>> + Send + 'static,
    ) -> Result<T, Status> {
        let task = self.tasks.spawn(work);
        let outcome = task
            .await
            .map_err(|_| Status::internal("the answer broke off"))?;
        let name = if outcome.is_ok() { "done" } else { "refused" };
        self.desk.metrics.administered(call, name);
        outcome.map_err(|e| status(&e))
    }
}

fn node(record: NodeRecord) -> wire::NodeRecord {
    let shown = record.introduction.unwrap_or_default();
    wire::NodeRecord {
        instance: record.instance.to_string(),
        standing: record.standing.name().to_owned(),
        kind: shown.kind,
        endorsement: shown.endorsement,
        image: shown.image,
        node_name: shown.node_name,
        peer: shown.peer,
        volume: shown
            .volume
            .map(|volume| volume.to_string())
            .unwrap_or_default(),
        since: record.since.to_string(),
        decided: time(record.decided),
        decided_by: record.decided_by.unwrap_or_default(),
    }
}

fn standing(name: &str) -> Result<Standing, Status> {
    [Standing::Approved, Standing::Denied, Standing::Revoked]
        .into_iter()
        .find(|standing| standing.name() == name)
        .ok_or_else(|| {
            let found = printable(name);
            Status::invalid_argument(format!(
                "standing: `{found}` instead of `approved`, `denied` or `revoked`"
            ))
        })
}

fn kubernetes_key(shown: Shown) -> wire::KubernetesKeyRecord {
    wire::KubernetesKeyRecord {
        key_id: shown.key_id,
        old_key_ids: shown.old_key_ids,
        created: shown.created.to_string(),
        rotated: time(shown.rotated),
    }
}

#[tonic::async_trait]
impl Admin for Admins {
    async fn create_volume(
        &self,
        request: Request<wire::CreateVolumeRequest>,
    ) -> Answer<wire::VolumeRecord> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let asked = request.into_inner();
        let id = match asked.volume_id.as_slice() {
            [] => None,
            bytes => Some(volume_id(bytes)?),
        };
        let work = async move {
            desk.create_volume(&operator, id, &asked.policy, &asked.label)
                .await
        };
        let made = self.done("create-volume", work).await?;
        Ok(Response::new(volume(made)))
    }

    async fn list_volumes(
        &self,
        request: Request<wire::ListVolumesRequest>,
    ) -> Answer<wire::ListVolumesAnswer> {
        operator(&request)?;
        let desk = Arc::clone(&self.desk);
        let work = async move { desk.list_volumes().await };
        let all = self.done("list-volumes", work).await?;
        Ok(Response::new(wire::ListVolumesAnswer {
            volumes: all.into_iter().map(volume).collect(),
        }))
    }

    async fn show_volume(&self, request: Request<wire::VolumeRef>) -> Answer<wire::VolumeRecord> {
        operator(&request)?;
        let (desk, id) = (
            Arc::clone(&self.desk),
            volume_id(&request.get_ref().volume_id)?,
        );
        let work = async move { desk.show_volume(id).await };
        let shown = self.done("show-volume", work).await?;
        Ok(Response::new(volume(shown)))
    }

    async fn retire_volume(&self, request: Request<wire::VolumeRef>) -> Answer<wire::VolumeRecord> {
        let operator = operator(&request)?;
        let (desk, id) = (
            Arc::clone(&self.desk),
            volume_id(&request.get_ref().volume_id)?,
        );
        let work = async move { desk.retire_volume(&operator, id).await };
        let retired = self.done("retire-volume", work).await?;
        Ok(Response::new(volume(retired)))
    }

    async fn break_lease(&self, request: Request<wire::VolumeRef>) -> Answer<wire::VolumeRecord> {
        let operator = operator(&request)?;
        let (desk, id) = (
            Arc::clone(&self.desk),
            volume_id(&request.get_ref().volume_id)?,
        );
        let work = async move { desk.break_lease(&operator, id).await };
        let free = self.done("break-lease", work).await?;
        Ok(Response::new(volume(free)))
    }

    async fn rotate_volume(&self, request: Request<wire::VolumeRef>) -> Answer<wire::VolumeRecord> {
        let operator = operator(&request)?;
        let (desk, id) = (
            Arc::clone(&self.desk),
            volume_id(&request.get_ref().volume_id)?,
        );
        let work = async move { desk.rotate_volume(&operator, id).await };
        let rotated = self.done("rotate-volume", work).await?;
        Ok(Response::new(volume(rotated)))
    }

    async fn adopt_volume(
        &self,
        request: Request<wire::AdoptVolumeRequest>,
    ) -> Answer<wire::VolumeRecord> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let adoption = adoption(request.into_inner())?;
        let work = async move { desk.adopt_volume(&operator, &adoption).await };
        let adopted = self.done("adopt-volume", work).await?;
        Ok(Response::new(volume(adopted)))
    }

    async fn export_dek(
        &self,
        request: Request<wire::ExportDekRequest>,
    ) -> Answer<wire::ExportDekAnswer> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let asked = request.into_inner();
        let id = volume_id(&asked.volume_id)?;
        let work = async move {
            desk.export_dek(&operator, id, asked.epoch, &asked.hpke_public_key)
                .await
        };
        let (sealed, epoch) = self.done("export-dek", work).await?;
        Ok(Response::new(wire::ExportDekAnswer {
            encapsulated_key: sealed.encapsulated_key,
            ciphertext: sealed.ciphertext,
            epoch,
        }))
    }

    async fn list_instances(
        &self,
        request: Request<wire::ListInstancesRequest>,
    ) -> Answer<wire::ListInstancesAnswer> {
        operator(&request)?;
        let desk = Arc::clone(&self.desk);
        let work = async move { desk.list_instances().await };
        let all = self.done("list-instances", work).await?;
        Ok(Response::new(wire::ListInstancesAnswer {
            instances: all.into_iter().map(|(r, seen)| instance(r, seen)).collect(),
        }))
    }

    async fn forget_instance(
        &self,
        request: Request<wire::InstanceRef>,
    ) -> Answer<wire::InstanceRecord> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let id = request
            .get_ref()
            .instance
            .parse()
            .map_err(|e| Status::invalid_argument(format!("instance: {e}")))?;
        let work = async move { desk.forget_instance(&operator, id).await };
        let forgotten = self.done("forget-instance", work).await?;
        Ok(Response::new(instance(forgotten, None)))
    }

    async fn list_records(
        &self,
        request: Request<wire::ListRecordsRequest>,
    ) -> Answer<wire::ListRecordsAnswer> {
        operator(&request)?;
        let desk = Arc::clone(&self.desk);
        let asked = request.into_inner();
        let work = async move { desk.record_keys(&asked.table).await };
        let keys = self.done("list-records", work).await?;
        Ok(Response::new(wire::ListRecordsAnswer {
            keys,
            service_id: self.desk.service_id.as_bytes().to_vec(),
        }))
    }

    async fn export_records(
        &self,
        request: Request<wire::ExportRecordsRequest>,
    ) -> Answer<wire::ExportRecordsAnswer> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let asked = request.into_inner();
        let to = match asked.hand_over_to.as_slice() {
            [] => None,
            bytes => Some(Uuid::from_slice(bytes).map_err(|_| {
                let found = bytes.len();
                Status::invalid_argument(format!("hand_over_to: {found} bytes instead of 16"))
            })?),
        };
        let work = async move {
            desk.export_records(&operator, &asked.table, &asked.keys, to)
                .await
        };
        let records = self.done("export-records", work).await?;
        Ok(Response::new(wire::ExportRecordsAnswer { records }))
    }

    async fn import_records(
        &self,
        request: Request<wire::ImportRecordsRequest>,
    ) -> Answer<wire::ImportRecordsAnswer> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let asked = request.into_inner();
        let how = Import {
            dry_run: asked.dry_run,
            restore: asked.restore,
        };
        let work = async move { desk.import_records(&operator, &asked.records, how).await };
        let done = self.done("import-records", work).await?;
        Ok(Response::new(wire::ImportRecordsAnswer {
            imported: done.created,
            present: done.present,
        }))
    }

    async fn status(&self, request: Request<wire::StatusRequest>) -> Answer<wire::StatusAnswer> {
        operator(&request)?;
        let desk = &self.desk;
        let head = desk
            .audit
            .head()
            .ok_or_else(|| Status::unavailable("the audit log cannot be written"))?;
        Ok(Response::new(wire::StatusAnswer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            service_id: desk.service_id.as_bytes().to_vec(),
            uptime_seconds: desk.started.elapsed().as_secs(),
            policy_digest: desk.policy().digest.clone(),
            audit_records: head.seq,
            audit_head: hex::encode(head.hash),
            kek: desk.ring.name(),
            store: desk.records.backend().to_owned(),
            warnings: desk
                .endorsements()
                .map_or_else(Vec::new, |all| all.warnings()),
        }))
    }

    async fn create_kubernetes_key(
        &self,
        request: Request<wire::KubernetesKeyRequest>,
    ) -> Answer<wire::KubernetesKeyRecord> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let work = async move { desk.create_kubernetes_key(&operator).await };
        let made = self.done("create-kubernetes-key", work).await?;
        Ok(Response::new(kubernetes_key(made)))
    }

    async fn rotate_kubernetes_key(
        &self,
        request: Request<wire::KubernetesKeyRequest>,
    ) -> Answer<wire::KubernetesKeyRecord> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let work = async move { desk.rotate_kubernetes_key(&operator).await };
        let rotated = self.done("rotate-kubernetes-key", work).await?;
        Ok(Response::new(kubernetes_key(rotated)))
    }

    async fn show_kubernetes_key(
        &self,
        request: Request<wire::KubernetesKeyRequest>,
    ) -> Answer<wire::KubernetesKeyRecord> {
        operator(&request)?;
        let desk = Arc::clone(&self.desk);
        let work = async move { desk.show_kubernetes_key().await };
        let shown = self.done("show-kubernetes-key", work).await?;
        Ok(Response::new(kubernetes_key(shown)))
    }

    async fn list_nodes(
        &self,
        request: Request<wire::ListNodesRequest>,
    ) -> Answer<wire::ListNodesAnswer> {
        operator(&request)?;
        let desk = Arc::clone(&self.desk);
        let all = self
            .done("list-nodes", async move { desk.list_nodes().await })
            .await?;
        let nodes = all.into_iter().map(node).collect();
        Ok(Response::new(wire::ListNodesAnswer { nodes }))
    }

    async fn decide_node(
        &self,
        request: Request<wire::DecideNodeRequest>,
    ) -> Answer<wire::NodeRecord> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let asked = request.into_inner();
        let standing = standing(&asked.standing)?;
        let id = asked
            .instance
            .parse()
            .map_err(|e| Status::invalid_argument(format!("instance: {e}")))?;
        let work = async move { desk.decide_node(&operator, id, standing).await };
        Ok(Response::new(node(self.done("decide-node", work).await?)))
    }

    async fn recover(&self, request: Request<wire::RecoverRequest>) -> Answer<wire::RecoverAnswer> {
        self.recovered(request).await
    }

    async fn cluster_id(
        &self,
        request: Request<wire::ClusterIdRequest>,
    ) -> Answer<wire::ClusterIdAnswer> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let salt = request.into_inner().measurement_salt;
        if !(1..=256).contains(&salt.len()) {
            let bytes = salt.len();
            let text = format!("measurement_salt: {bytes} bytes instead of 1 to 256");
            return Err(Status::invalid_argument(text));
        }
        let work = async move { desk.cluster_id(&operator, &salt).await };
        let derived = self.done("cluster-id", work).await?;
        Ok(Response::new(wire::ClusterIdAnswer {
            cluster_id: derived.id.to_vec(),
            pcr15: derived.pcr15.to_vec(),
            rtmr2: derived.rtmr2.to_vec(),
        }))
    }
}
