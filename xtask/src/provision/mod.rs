//! To come.
use ecosystem_core::artifact::*;
use ecosystem_core::model::Service;
use std::collections::BTreeMap;
pub struct Provisioner;
pub struct Need {
    pub name: String,
    pub present: bool,
}
impl Provisioner {
    pub fn new(
        _: &crate::context::Context,
        _: &camino::Utf8Path,
        _: &camino::Utf8Path,
        _: bool,
        _: ecosystem_core::process::RunAs,
        _: &dyn crate::event::Events,
    ) -> anyhow::Result<Self> {
        Ok(Self)
    }
    pub fn plan(&mut self, _: &[&Service]) -> Vec<Need> {
        vec![]
    }
    pub fn provide(&mut self, s: &[&Service]) -> anyhow::Result<BTreeMap<String, Installation>> {
        Ok(s.iter()
            .map(|s| {
                (
                    s.name.clone(),
                    BTreeMap::from([(
                        "redis".to_owned(),
                        Installed {
                            name: "redis".into(),
                            version: "7.0.15".into(),
                            key: Key::of(["a"]),
                            root: "/usr".into(),
                            facts: Facts {
                                paths: BTreeMap::from([("server".into(), "/usr/bin/redis-server".into())]),
                                ..Facts::default()
                            },
                        },
                    )]),
                )
            })
            .collect())
    }
}
