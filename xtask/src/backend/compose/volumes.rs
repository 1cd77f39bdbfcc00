//! Volumes as a whole: copied, and their content replaced, by a container of the image of their service in which nothing of it runs.
//!
//! An engine cannot rename a volume. What takes the place of its content is therefore laid into it first, below a name of its own, and
//! then everything is moved by renames: that takes no space, and can be done again from wherever it was interrupted.

use std::collections::BTreeMap;
use std::time::Duration;

use ecosystem_core::checkpoint::LABEL;
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::render::compose::LABEL_PLACE;

use super::{CHANGE, Compose, quoted, record};
use crate::sys::cmd::Cmd;

/// How long copying a volume may take.
const COPY: Duration = Duration::from_hours(1);

/// Copies everything, and tells how much that was, in kB.
const COPY_ALL: &str = "set -e; cp -a /from/. /to/; rm -rf /to/.ecosystem-*; sync; du -sk /to | cut -f1";

/// Lays a copy into a volume, beside what is in it.
const STAGE: &str = "set -e; rm -rf /to/.ecosystem-arriving; mkdir /to/.ecosystem-arriving; cp -a /from/. /to/.ecosystem-arriving/; sync";

/// Takes that away again.
const UNSTAGE: &str = "rm -rf /to/.ecosystem-arriving; sync";

/// Moves what was there away, then what was laid beside it in. The rename of its folder says that all of the former is away.
const SWAP: &str = r#"set -e; cd /to; there() { [ -e "$1" ] || [ -L "$1" ]; }
if [ -d .ecosystem-arriving ]; then
  mkdir -p .ecosystem-old
  for e in * .[!.]* ..?*; do
    case "$e" in .ecosystem-*) continue;; esac
    if there "$e"; then mv -- "$e" .ecosystem-old/; fi
  done
  sync; mv .ecosystem-arriving .ecosystem-new
fi
if [ -d .ecosystem-new ]; then
  chown "$(stat -c %u:%g .ecosystem-new)" .; chmod "$(stat -c %a .ecosystem-new)" .
  for e in .ecosystem-new/* .ecosystem-new/.[!.]* .ecosystem-new/..?*; do
    if there "$e"; then mv -- "$e" ./; fi
  done
  sync; rmdir .ecosystem-new
fi
rm -rf .ecosystem-old; sync"#;

/// A volume that something is done with.
#[derive(Debug, Clone, Copy)]
pub struct Volume<'a> {
    /// The service whose data it holds.
    pub service: &'a str,
    /// The image whose `cp` and `mv` are used.
    pub image: &'a str,
    /// The checkpoint that this is about.
    pub checkpoint: &'a str,
    /// The volume with the copy.
    pub copy: &'a str,
}

impl Compose {
    /// The volume of a service.
    fn live(&self, service: &str) -> String {
        format!("{}_{service}", self.project())
    }

    /// Copies the data of a service into a volume of a checkpoint; in bytes.
    pub fn save_volume(&self, volume: Volume<'_>) -> anyhow::Result<u64> {
        let labels = [format!("{LABEL_PLACE}={}", self.place.id), format!("{LABEL}={}", volume.checkpoint)];
        self.create(volume.copy, &labels)?;
        let printed =
            self.helper(volume, &[(&self.live(volume.service), "/from:ro"), (volume.copy, "/to")], COPY_ALL)?;
        Ok(printed.trim().parse::<u64>().unwrap_or(0) * 1024)
    }

    /// Remembers that this engine has volumes of this place, before there are any.
    pub fn claim(&self) -> anyhow::Result<()> {
        self.same_engine()?;
        let engine = self.engine_id()?;
        record::change(&self.place, |record| record.engine = Some(engine))
    }

    /// Remembers what made the data of these services.
    pub fn note_made(&self, made_by: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let noted = made_by.iter().map(|(service, by)| (service.clone(), by.clone()));
        record::change(&self.place, |record| record.made_by.extend(noted))
    }

    /// Lays the data of a checkpoint into the volume of a service, beside what is in it.
    pub fn stage_volume(&self, volume: Volume<'_>) -> anyhow::Result<()> {
        // A container that is given the name of a volume that is not there gets an empty one.
        let there = self.docker(["volume", "inspect", "--", volume.copy]).run()?;
        if !there.ok() {
            let message = format!("the engine does not have {}, the copy of {}", volume.copy, volume.service);
            return Err(Failure::new(Kind::Data, "checkpoint-damaged", message)
                .hint("another engine may have it: docker context ls")
                .into());
        }
        let live = self.create_live(volume.service)?;
        self.helper(volume, &[(volume.copy, "/from:ro"), (&live, "/to")], STAGE).map(drop)
    }

    /// Takes it away again.
    pub fn unstage_volume(&self, volume: Volume<'_>) -> anyhow::Result<()> {
        let live = self.create_live(volume.service)?;
        self.helper(volume, &[(&live, "/to")], UNSTAGE).map(drop)
    }

    /// Puts what was laid into it in the place of what was in it. Does what is left of that, however often it was interrupted.
    pub fn swap_volume(&self, volume: Volume<'_>) -> anyhow::Result<()> {
        self.same_engine()?;
        let live = self.create_live(volume.service)?;
        self.helper(volume, &[(&live, "/to")], SWAP).map(drop)
    }

    /// Removes the volumes of a checkpoint, and whatever still copies into them.
    pub fn remove_checkpoint(&self, name: &str) -> anyhow::Result<()> {
        self.same_engine()?;
        self.end_helpers(name)?;
        let volumes = self.of_checkpoint(["volume", "ls", "--quiet"], name)?;
        if volumes.is_empty() {
            return Ok(());
        }
        self.insist(self.docker(["volume", "rm", "--force"]).args(volumes).limit(CHANGE), "deleted")
    }

    /// Ends what a command has left copying that was killed: the engine goes on without it.
    pub fn end_helpers(&self, name: &str) -> anyhow::Result<()> {
        let left = self.of_checkpoint(["ps", "--all", "--quiet"], name)?;
        if !left.is_empty() {
            self.insist(self.docker(["rm", "--force"]).args(left).limit(CHANGE), "removed")?;
        }
        Ok(())
    }

    /// Starts containers that were stopped and kept.
    pub fn resume(&self, services: &[String]) -> anyhow::Result<()> {
        let ids = self.ids(services)?;
        if ids.is_empty() { Ok(()) } else { self.insist(self.on("start", &ids), "started") }
    }

    fn of_checkpoint<const N: usize>(&self, args: [&str; N], name: &str) -> anyhow::Result<Vec<String>> {
        let place = format!("label={LABEL_PLACE}={}", self.place.id);
        let checkpoint = format!("label={LABEL}={name}");
        let listed = self.docker(args).args(["--filter", &place, "--filter", &checkpoint]).run()?;
        if !listed.ok() {
            return Err(self.unanswered(&listed).into());
        }
        Ok(listed.stdout.split_whitespace().map(str::to_owned).collect())
    }

    /// The volume of a service, made as Docker Compose would make it where it is not there.
    fn create_live(&self, service: &str) -> anyhow::Result<String> {
        let live = self.live(service);
        let labels = [
            format!("com.docker.compose.project={}", self.project()),
            format!("com.docker.compose.volume={service}"),
        ];
        self.create(&live, &labels)?;
        Ok(live)
    }

    /// Makes a volume; one that is there stays as it is.
    fn create(&self, name: &str, labels: &[String]) -> anyhow::Result<()> {
        let labels = labels.iter().flat_map(|label| ["--label", label]);
        self.insist(self.docker(["volume", "create"]).args(labels).args([name]).limit(CHANGE), "copied")
    }

    /// Runs a script on volumes, in a container of the image of their service, as root and without a network; what it printed.
    fn helper(&self, volume: Volume<'_>, mounts: &[(&str, &str)], script: &str) -> anyhow::Result<String> {
        let (place, checkpoint) =
            (format!("{LABEL_PLACE}={}", self.place.id), format!("{LABEL}={}", volume.checkpoint));
        let words = ["--rm", "--pull", "never", "--user", "0:0", "--network", "none", "--entrypoint", "sh"];
        let mounts: Vec<String> = mounts.iter().map(|(name, path)| format!("{name}:{path}")).collect();
        let command: Cmd = self.docker(["run"]).args(words).args(["--label", &place, "--label", &checkpoint]);
        let command = command.args(mounts.iter().flat_map(|mount| ["--volume", mount]));
        // Killed with this program, before the engine has heard of it; what the engine has begun is ended by name.
        let run = command.args([volume.image, "-c", script]).limit(COPY).leashed().run()?;
        if run.ok() {
            return Ok(run.stdout);
        }
        let message = format!("the volume of {} could not be copied\n{}", volume.service, quoted(&run));
        Err(Failure::new(Kind::Service, "volume-not-copied", message)
            .hint("is there space left? docker system df")
            .into())
    }
}
