//! The gRPC service for the ring of KEK providers: a thin coat over the desk.

use super::admin::{Admins, Answer, operator, status, time, uuid};
use crate::desk::{AdminError, KekStatus};
use crate::kek::KeyRing;
use crate::kek::ring::Member;
use dawnkey_kek::{Custody, Finding};
use dawnkey_proto::seal::Sealed;
use dawnkey_proto::wire;
use dawnkey_proto::wire::kek_admin_server::KekAdmin;
use std::sync::Arc;
use tonic::{Request, Response};

fn progress(status: &KekStatus) -> wire::KekProgress {
    let found = status.progress.clone();
    wire::KekProgress {
        pending: status.ring.rewrap.is_some(),
        running: found.running,
        began: time(found.began),
        ended: time(found.ended),
        total: found.total,
        done: found.done,
        changed: found.changed,
        failed: found.failed,
        problem: found.problem.unwrap_or_default(),
    }
}

fn provider(ring: &KeyRing, status: &KekStatus, member: &Member) -> wire::KekProvider {
    let usage = status.usage.get(&member.name).into_iter().flatten();
    let seat = ring.seats().iter().find(|seat| seat.name() == member.name);
    let can = seat.map(|seat| seat.capabilities());
    wire::KekProvider {
        name: member.name.clone(),
        kind: member.kind.clone(),
        state: member.state.name().to_owned(),
        since: member.since.to_string(),
        configured: seat.is_some(),
        also_wraps: ring.also_wrap().contains(&member.name),
        readiness: seat.map_or_else(String::new, |seat| seat.readiness().name().to_owned()),
        failure: seat.and_then(|seat| seat.failure()).unwrap_or_default(),
        usage: usage
            .map(|(version, deks)| wire::KekUsage {
                version: version.clone(),
                deks: *deks,
            })
            .collect(),
        aad: can.is_some_and(|can| can.aad),
        custody: match can.map(|can| can.custody) {
            Some(Custody::Kms) => "kms".into(),
            Some(Custody::ServiceMemory) => "service-memory".into(),
            None => String::new(),
        },
        rotation: can.is_some_and(|can| can.rotation),
        attested_release: can.is_some_and(|can| can.attested_release),
    }
}

fn answer(ring: &KeyRing, found: &KekStatus) -> wire::KekStatusAnswer {
    let (hits, misses, entries) = ring.cache_counts();
    wire::KekStatusAnswer {
        providers: found
            .ring
            .members
            .iter()
            .map(|member| provider(ring, found, member))
            .collect(),
        rewrap: Some(progress(found)),
        recipient: ring.recipient().unwrap_or_default(),
        unsealed: found.unsealed,
        cache_hits: hits,
        cache_misses: misses,
        cache_entries: entries as u64,
    }
}

fn finding(found: Finding) -> wire::KekFinding {
    wire::KekFinding {
        subject: found.subject,
        good: found.good,
        detail: found.detail,
    }
}

impl Admins {
    async fn status_after<T: Send + 'static>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, AdminError>> + Send + 'static,
    ) -> Answer<wire::KekStatusAnswer> {
        self.done(call, work).await?;
        let found = self.desk.kek_status().await.map_err(|e| status(&e))?;
        Ok(Response::new(answer(&self.desk.ring, &found)))
    }
}

#[tonic::async_trait]
impl KekAdmin for Admins {
    async fn status(
        &self,
        request: Request<wire::KekStatusRequest>,
    ) -> Answer<wire::KekStatusAnswer> {
        operator(&request)?;
        self.status_after("kek-status", async { Ok(()) }).await
    }

    async fn rotate(&self, request: Request<wire::KekRef>) -> Answer<wire::KekStatusAnswer> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let name = request.into_inner().name;
        let work = async move { desk.kek_rotate(&operator, &name).await };
        self.status_after("kek-rotate", work).await
    }

    async fn rewrap(
        &self,
        request: Request<wire::KekRewrapRequest>,
    ) -> Answer<wire::KekStatusAnswer> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let work = async move { desk.kek_rewrap(&operator).await };
        self.status_after("kek-rewrap", work).await
    }

    async fn remove(&self, request: Request<wire::KekRef>) -> Answer<wire::KekStatusAnswer> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let name = request.into_inner().name;
        let work = async move { desk.kek_remove(&operator, &name).await };
        self.status_after("kek-remove", work).await
    }

    async fn doctor(
        &self,
        request: Request<wire::KekDoctorRequest>,
    ) -> Answer<wire::KekDoctorAnswer> {
        operator(&request)?;
        let desk = Arc::clone(&self.desk);
        let name = request.into_inner().name;
        let work = async move { desk.kek_doctor(&name).await };
        let all = self.done("kek-doctor", work).await?;
        let providers = all.into_iter().map(|found| wire::KekExamination {
            name: found.provider,
            kind: found.kind,
            findings: found.findings.into_iter().map(finding).collect(),
        });
        Ok(Response::new(wire::KekDoctorAnswer {
            providers: providers.collect(),
        }))
    }

    async fn sealed(
        &self,
        request: Request<wire::KekSealedRequest>,
    ) -> Answer<wire::KekSealedAnswer> {
        operator(&request)?;
        let desk = Arc::clone(&self.desk);
        let owner = match request.into_inner().owner_id.as_slice() {
            [] => None,
            bytes => Some(uuid("owner_id", bytes)?),
        };
        let work = async move {
            let inbox = desk.kek_inbox()?.public_key().to_vec();
            Ok((inbox, desk.kek_sealed(owner).await?))
        };
        let (hpke_public_key, all) = self.done("kek-sealed", work).await?;
        let deks = all.into_iter().map(|found| {
            let recovery = found.dek.recovery;
            let (recipient, sealed) =
                recovery.map_or_else(Default::default, |r| (r.recipient, r.sealed));
            wire::KekSealedDek {
                owner_id: found.owner.as_bytes().to_vec(),
                owner: if found.volume { "volume" } else { "key" }.to_owned(),
                epoch: found.dek.epoch,
                recipient,
                sealed,
                current: found.current,
            }
        });
        Ok(Response::new(wire::KekSealedAnswer {
            hpke_public_key,
            deks: deks.collect(),
        }))
    }

    async fn restore(
        &self,
        request: Request<wire::KekRestoreRequest>,
    ) -> Answer<wire::KekRestoreAnswer> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let asked = request.into_inner();
        let owner = uuid("owner_id", &asked.owner_id)?;
        let work = async move {
            let sealed = Sealed {
                encapsulated_key: asked.encapsulated_key,
                ciphertext: asked.ciphertext,
            };
            desk.kek_restore(&operator, owner, asked.epoch, &sealed)
                .await
        };
        let providers = self.done("kek-restore", work).await?;
        Ok(Response::new(wire::KekRestoreAnswer { providers }))
    }

    async fn masters(
        &self,
        request: Request<wire::KekMastersRequest>,
    ) -> Answer<wire::KekMastersAnswer> {
        operator(&request)?;
        let desk = Arc::clone(&self.desk);
        let work = async move {
            let inbox = desk.kek_inbox()?.public_key().to_vec();
            Ok((inbox, desk.ring.masters().await?))
        };
        let (hpke_public_key, masters) = self.done("kek-masters", work).await?;
        let masters = masters.into_iter().map(|found| wire::KekMaster {
            provider: found.provider,
            given: found.given,
            known: found.known,
        });
        Ok(Response::new(wire::KekMastersAnswer {
            hpke_public_key,
            masters: masters.collect(),
        }))
    }

    async fn give_master(
        &self,
        request: Request<wire::KekGiveMasterRequest>,
    ) -> Answer<wire::KekGiveMasterAnswer> {
        let (operator, desk) = (operator(&request)?, Arc::clone(&self.desk));
        let asked = request.into_inner();
        let work = async move {
            let sealed = Sealed {
                encapsulated_key: asked.encapsulated_key,
                ciphertext: asked.ciphertext,
            };
            desk.give_master(&operator, &asked.provider, &sealed).await
        };
        let given = self.done("kek-give-master", work).await?;
        Ok(Response::new(wire::KekGiveMasterAnswer {
            already: given.already,
            first: given.first,
        }))
    }
}
