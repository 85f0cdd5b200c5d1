//! The tests of this binary, each on the runtimes that it is for: names begin with `process::` or `container::`.
//!
//! Without a container engine the latter are ignored, loudly, which counts as skipped and never as passed;
//! `DRILLS_REQUIRE_CONTAINERS=1` makes them fail instead.

use crate::recording;
use libtest_mimic::{Arguments, Failed, Trial};
use recovery_drills::runtime::engine::{Engine, EngineError};
use recovery_drills_containers::{ContainerEngine, REQUIRE, connect};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

tokio::task_local! {
    /// The engine that the drills of this test run on; none for processes.
    pub(crate) static ENGINE: Option<Arc<dyn Engine>>;
}

/// A test, before it is known on which runtime.
pub(crate) struct Drill {
    /// Its path below this binary.
    pub(crate) name: &'static str,
    /// Its body.
    pub(crate) body: fn() -> Pin<Box<dyn Future<Output = ()>>>,
}

/// What a module holds: tests for both runtimes, and those that are about processes or about containers only.
pub(crate) struct Drills {
    pub(crate) both: &'static [Drill],
    pub(crate) process: &'static [Drill],
    pub(crate) container: &'static [Drill],
}

/// Lists the tests of a module.
#[macro_export]
macro_rules! drills {
    (both: [$($both:ident),* $(,)?], process: [$($process:ident),* $(,)?] $(,)?) => {
        $crate::drills!(both: [$($both),*], process: [$($process),*], container: []);
    };
    (both: [$($both:ident),* $(,)?], process: [$($process:ident),* $(,)?], container: [$($container:ident),* $(,)?] $(,)?) => {
        /// The tests of this module.
        pub(crate) const DRILLS: $crate::trials::Drills = $crate::trials::Drills {
            both: &[$($crate::drills!(@one $both)),*],
            process: &[$($crate::drills!(@one $process)),*],
            container: &[$($crate::drills!(@one $container)),*],
        };
    };
    (@one $name:ident) => {
        $crate::trials::Drill {
            name: concat!(module_path!(), "::", stringify!($name)),
            body: || Box::pin($name()),
        }
    };
}

/// Runs the tests that the command line asks for, and ends the process.
pub(crate) fn run(modules: &[Drills]) -> ! {
    let arguments = Arguments::from_args();
    let engine = prepared(&arguments);
    let mut trials = Vec::new();
    let mut skipped = Vec::new();
    for module in modules {
        for drill in module.both.iter().chain(module.process) {
            let body = drill.body;
            let name = format!("process::{}", path(drill.name));
            trials.push(Trial::test(name.clone(), move || in_thread(&name, false, body)));
        }
        for drill in module.both.iter().chain(module.container) {
            let body = drill.body;
            let name = format!("container::{}", path(drill.name));
            let trial = Trial::test(name.clone(), {
                let name = name.clone();
                move || in_thread(&name, true, body)
            });
            trials.push(trial.with_ignored_flag(engine.is_err()));
            skipped.push(name);
        }
    }
    if let Err(reason) = &engine {
        tell(&arguments, &skipped, reason);
        // Nextest shows nothing of its list phase, and of this test, as its configuration says, all output.
        let told = format!(
            "SKIPPED {} container drills: {reason}; {REQUIRE}=1 makes this a failure",
            skipped.len()
        );
        let names = skipped.join("\n  ");
        trials.push(Trial::test("skipped::container_drills", move || {
            eprintln!("{told}\n  {names}");
            Ok(())
        }));
    }
    libtest_mimic::run(&arguments, trials).exit()
}

/// Says once for the whole run what is skipped, and records it; nextest asks for the list before it runs anything.
fn tell(arguments: &Arguments, skipped: &[String], reason: &str) {
    let under_nextest = std::env::var_os("NEXTEST_RUN_ID").is_some();
    if arguments.list != under_nextest || arguments.exact {
        return;
    }
    let asked = |name: &&String| {
        arguments
            .filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    };
    for name in skipped.iter().filter(asked) {
        recording::skipped(name, reason);
    }
}

/// Whether container drills can run. Their image is made here, once before all of them: the first drill would be ended for
/// the minutes that it takes.
fn prepared(arguments: &Arguments) -> Result<(), String> {
    let told = |error: EngineError| error.to_string();
    let prepared = runtime().block_on(async {
        let engine = ContainerEngine::new().await.map_err(told)?;
        if arguments.exact {
            return Ok(());
        }
        engine.ensure_image(None).await.map_err(told)
    });
    // What is required has to fail, each drill with the reason.
    if required() { Ok(()) } else { prepared }
}

fn required() -> bool {
    std::env::var(REQUIRE).is_ok_and(|value| value == "1")
}

/// The path without the name of this binary.
fn path(name: &str) -> &str {
    name.split_once("::").map_or(name, |(_, path)| path)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// In a thread of the test's name, which records are named after.
fn in_thread(name: &str, in_containers: bool, body: fn() -> Pin<Box<dyn Future<Output = ()>>>) -> Result<(), Failed> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    let spawned = thread.spawn(move || {
        runtime().block_on(async {
            let engine: Option<Arc<dyn Engine>> = if in_containers {
                Some(connect().await.map_err(|error| error.to_string())?)
            } else {
                None
            };
            ENGINE.scope(engine, body()).await;
            Ok::<_, String>(())
        })
    });
    let ended = spawned.map_err(|error| error.to_string())?.join();
    // The panic was printed where it happened.
    ended
        .unwrap_or_else(|_| Err("the test panicked".to_owned()))
        .map_err(Failed::from)
}
