//! The boot that goes through all worlds, and what the host saw meanwhile.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::disk::Disk;
use dawnkey_qemu_tests::lab::{Lab, Scene};
use dawnkey_qemu_tests::machine::Boot;
use dawnkey_qemu_tests::net::{Did, Network, Weather};
use dawnkey_qemu_tests::operator::{Operator, VOLUME};
use dawnkey_qemu_tests::running::Running;
use serde_json::Value;

use super::proxy::Proxy;
use super::table::{
    FORGER, OPENINGS, PROXY, RECORDED, RELAY, REPLAYED, TWIN, WORLDS, World, calm, refused,
};
use super::tape::{self, Player, Recorder};
use crate::guest::FUNCTIONS;
use crate::story::record;

/// Small, since two are formatted.
const BYTES: u64 = 40 << 20;
/// All of it on a busy machine without KVM.
const LIMIT: Duration = Duration::from_secs(900);
/// `paced FILE SERVICE BUDGET ATTEMPT FROM` writes a configuration, `told` runs the agent with it. `alone vda`, since the
/// second disk carries the same volume id.
const COMMON: &str = r##"
paced() { sed -e "s#^endpoints = .*#$2#" -e "s#^budget_seconds = .*#budget_seconds = $3#" \
    -e "s#^attempt_seconds = .*#attempt_seconds = $4#" "/run/$5.toml" >"/run/$1.toml"; }
opens() { step "$1" alone "$2" dawnkey-agent --config "/run/$1.toml" --json unlock; }
told() { step "begin-$1" cat /proc/uptime; opens "$1" vda; step "end-$1" cat /proc/uptime; }
closed() { close; mapped "mapped-$1"; }
route() { ip addr add 10.0.2.15/24 dev eth0 2>/dev/null; true; }
"##;

/// What the script and the host agree on.
fn script() -> String {
    let mut script = format!(
        r#"{FUNCTIONS}{COMMON}
step clock date +%s
tee_begin
configure /dev/vda {VOLUME} state
configure /dev/vdb {VOLUME} other
paced made 'endpoints = ["{RECORDED}"]' 60 20 state
paced forged 'endpoints = ["{FORGER}"]' 60 20 other
opens made vda
put state 2000 "as it was written"
closed made
tee_launch
opens forged vdb
closed forged
await_host recorded
"#
    );
    for world in WORLDS {
        let World {
            name,
            service,
            budget,
            before,
            ..
        } = world;
        let attempt = (*budget).min(20);
        script += &format!(
            "tee_launch\npaced {name} '{service}' {budget} {attempt} state\nawait_host ready-{name}\n{before}\ntold {name}\nclosed {name}\nroute\n"
        );
    }
    script += "await_host still\n";
    for (name, service, before, ..) in OPENINGS {
        script += &format!(
            "tee_launch\npaced {name} '{service}' 120 60 state\nstep before-{name} {before}\nawait_host ready-{name}\ntold {name}\nget read-{name} state 2000\nclosed {name}\n"
        );
    }
    script + DOWN
}

/// The service comes back while the node tries.
const DOWN: &str = r##"
waited() { wait $agent; code=$?; cat /run/down.out; cat /run/down.err >&2; return $code; }
# Until: at first the file is not there, and there is nothing to compare.
tried() { until [ "$(grep -c attempt-failed /run/down.err)" -ge 4 ]; do usleep 100000; done 2>/dev/null; }
tee_launch
paced down 'endpoints = ["10.0.2.100:8443"]' 600 20 state
await_host ready-down
alone vda dawnkey-agent --config /run/down.toml --json unlock >/run/down.out 2>/run/down.err &
agent=$!
tried
await_host back
step down waited
get read-down state 2000
close
"##;

/// What came of it.
pub struct Told {
    pub boot: Boot,
    /// Names of the worlds in which the disk was not the same afterwards.
    pub written: Vec<&'static str>,
    /// What the network did in each world that asks for it.
    pub did: BTreeMap<&'static str, u64>,
    /// The volume's record before and after the worlds in which it must not open, and after an earlier session was played
    /// to the service.
    pub records: [Value; 3],
    /// Bytes that the proxies were entrusted with: one under its own certificate, one under the service's.
    pub entrusted: [u64; 2],
    /// Bytes that the service answered to the node's part of an earlier session, and those of the session itself.
    pub replayed: (usize, usize),
}

static TOLD: LazyLock<Result<Told, String>> = LazyLock::new(|| tell().map_err(|e| e.to_string()));

/// The story; told by whichever test asks first.
pub fn told() -> &'static Told {
    let told = TOLD.as_ref();
    told.unwrap_or_else(|e| panic!("the boot of this story failed: {e}"))
}

/// The key service of somebody who has the service's certificate and key, and trusts the same platforms, over records and a
/// master secret of their own. It gives its key for any copy of the disk.
fn forger(lab: &Lab, scene: &Scene<'_>) -> Result<Operator, VmError> {
    let forger = Operator::copy_to(&lab.binaries, &lab.operator, &scene.path("forger"))?;
    forger.adopt_endorsements(&lab.platforms)?;
    forger.adopt_policy(&lab.platforms)?;
    forger.edit_policy("rollback = \"refuse\"", "rollback = \"warn\"")?;
    Ok(forger)
}

/// Everything that the host looks at between two worlds.
struct Watch<'a> {
    scene: &'a Scene<'a>,
    disk: &'a Disk,
    network: &'a Network,
    running: Running,
    before: Option<(&'static str, String)>,
    written: Vec<&'static str>,
    did: BTreeMap<&'static str, u64>,
}

impl Watch<'_> {
    /// Notes whether the world before this one has written to the disk.
    fn look(&mut self, next: &'static str) -> Result<(), VmError> {
        let now = self.disk.digest()?;
        let before = self.before.replace((next, now.clone()));
        self.written.extend(
            before
                .filter(|(_, digest)| *digest != now)
                .map(|(name, _)| name),
        );
        Ok(())
    }

    /// Lets one world happen.
    fn go(
        &mut self,
        name: &'static str,
        weather: Weather,
        did: Option<Did>,
    ) -> Result<(), VmError> {
        self.network.weather(weather);
        self.running.go()?;
        if let Some(what) = did {
            self.running.wait_step(&format!("end-{name}"))?;
            self.did.insert(name, self.network.did(what));
        }
        Ok(())
    }

    fn record(&self) -> Result<Value, VmError> {
        record(self.scene)
    }
}

fn tell() -> Result<Told, VmError> {
    let lab = Lab::open()?;
    let scene = lab.tee_scene()?;
    scene.operator.create_volume(VOLUME)?;
    let disk = scene.blank("state.disk", BYTES)?;
    let other = scene.blank("other.disk", BYTES)?;
    let service = scene.service.address();

    let twin = Operator::init(&lab.binaries, &scene.path("twin"))?;
    let twin_service = twin.start()?;
    let forger = forger(&lab, &scene)?;
    let forger_service = forger.start()?;
    forger.create_volume(VOLUME)?;
    let proxy = Proxy::start(&lab, &twin.identity(), service);
    let relay = Proxy::start(&lab, &scene.operator.identity(), service);
    let (recorder, player) = (Recorder::start(service), Player::start());
    let network = Network::new(&scene.path("network"))?;
    let reaches: [(&str, SocketAddr); 6] = [
        (TWIN, twin_service.address()),
        (PROXY, proxy.address),
        (RELAY, relay.address),
        (RECORDED, recorder.address),
        (REPLAYED, player.address),
        (FORGER, forger_service.address()),
    ];
    let machine = reaches
        .iter()
        .fold(scene.direct(), |machine, (guest, host)| {
            machine.reaches(guest, *host, &lab.busybox)
        });
    let machine = machine.disk(&disk).disk(&other).limit(LIMIT);
    let machine = machine.network(&network).clock("2001-02-03T04:05:06");
    let mut watch = Watch {
        scene: &scene,
        disk: &disk,
        network: &network,
        running: machine.script(&script()).start()?,
        before: None,
        written: Vec::new(),
        did: BTreeMap::new(),
    };

    watch.running.wait_step("recorded")?;
    let session = recorder.session();
    let first = watch.record()?;
    let answered = tape::play_to_service(&session, service).len();
    let replayed = (answered, session.service.len());
    let after_replay = watch.record()?;
    player.load(session);
    watch.running.go()?;
    for world in WORLDS {
        watch.running.wait_step(&format!("ready-{}", world.name))?;
        watch.look(world.name)?;
        watch.go(world.name, (world.weather)(), world.did)?;
    }
    watch.running.wait_step("still")?;
    watch.look("")?;
    let after = watch.record()?;
    watch.running.go()?;
    for (name, _, _, weather, did) in OPENINGS {
        watch.running.wait_step(&format!("ready-{name}"))?;
        watch.go(name, weather(), *did)?;
    }
    watch.running.wait_step("ready-down")?;
    watch.go("down", refused(), None)?;
    watch.running.wait_step("back")?;
    watch.go("down", calm(), None)?;
    let Watch {
        running,
        written,
        did,
        ..
    } = watch;
    Ok(Told {
        boot: running.finish()?,
        written,
        did,
        records: [first, after, after_replay],
        entrusted: [proxy.entrusted(), relay.entrusted()],
        replayed,
    })
}
