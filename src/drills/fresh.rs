//! Services of an environment started on empty files and started again on them, for a comparison of environments: which release
//! they state before and after, and which schema they create. Nothing is left of the run.
//!
//! Unlike in a drill, the release is not pinned: what an environment does not set must be seen to move.

use crate::client::directory::DirectoryClient;
use crate::deployment::Service;
use crate::drills::context::{DrillContext, DrillRequest, Progress, UsageError, chain, now};
use crate::drills::instances::{Deployment, Pair, StartError};
use crate::drills::schema_gate::{SchemaError, of_file};
use crate::drills::{Ending, source};
use crate::parity::fresh::{Answer, Fresh};
use crate::runtime::process::ProcessError;
use std::path::PathBuf;
use std::time::Duration;

/// What a drill pins at each start. Source: contract 1.3.
const RELEASE: [&str; 3] = ["BEAM_RELEASE_VERSION", "BEAM_RELEASE_SHA", "BEAM_DEPLOYED_AT"];

/// What the directory says of its release.
const PATHS: [&str; 3] = ["/release", "/health", "/stats"];

/// Between two starts: longer than the coarsest clock that a release is stated with.
const BETWEEN_STARTS: Duration = Duration::from_millis(1_100);

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("cannot make a folder for the services' files")]
    Folder(#[from] std::io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot stop the services")]
    Stop(#[from] ProcessError),
    #[error("cannot read the schema that was created")]
    Schema(#[from] SchemaError),
}

/// Starts, asks, stops, starts again, asks, stops. What could not be done is told as a problem of the environment.
///
/// # Errors
/// [`UsageError`] for what is known to be impossible before anything was started.
pub async fn look(request: DrillRequest, progress: Box<dyn Progress>) -> Result<Fresh, UsageError> {
    let mut context = DrillContext::new(request, progress)?;
    let seen = Box::pin(run(&mut context)).await;
    context.discard();
    match seen {
        Ok(fresh) => Ok(fresh),
        Err(Ending::Usage(error)) => Err(error),
        Err(Ending::Stop(stop)) => Ok(Fresh {
            problem: Some(chain(&stop)),
            ..Fresh::default()
        }),
    }
}

async fn run(context: &mut DrillContext) -> Result<Fresh, Ending> {
    let mut deployment = source::deployment(context).await?;
    let given = &deployment.environment.directory.env;
    let pinned = RELEASE.into_iter().filter(|name| !given.contains_key(*name));
    deployment.overrides[0].unset = pinned.map(str::to_owned).collect();
    let (folder, logs) = (context.folders.work.join("fresh"), context.folders.logs.clone());
    let fresh = context
        .step("start the services on empty files, twice", async {
            let fresh = started_twice(&mut deployment, folder, logs).await?;
            let detail = format!("{} answers, {} schemas", fresh.releases.len(), fresh.schemas.len());
            Ok::<_, LookError>((fresh, detail))
        })
        .await?;
    Ok(fresh)
}

async fn started_twice(deployment: &mut Deployment, folder: PathBuf, logs: PathBuf) -> Result<Fresh, LookError> {
    std::fs::create_dir_all(&folder)?;
    let databases = Service::ALL.map(|service| folder.join(service.database_file()));
    let mut samples = Vec::new();
    for role in ["fresh", "restarted"] {
        if !samples.is_empty() {
            tokio::time::sleep(BETWEEN_STARTS).await;
        }
        let mut pair = deployment.start(&databases, &logs, role).await?;
        samples.push(answers(&pair).await);
        pair.stop(&deployment.environment).await?;
    }
    let after = samples.pop().unwrap_or_default();
    let before = samples.pop().unwrap_or_default();
    let again = |before: Answer| {
        let after = after.iter().find(|answer| answer.place == before.place)?.clone();
        Some([before, after])
    };
    let mut schemas = Vec::new();
    for (service, path) in Service::ALL.into_iter().zip(&databases) {
        schemas.push((service, of_file(path)?.facts));
    }
    Ok(Fresh {
        releases: before.into_iter().filter_map(again).collect(),
        schemas,
        problem: None,
    })
}

/// What the directory answers; a path that it does not have is left out.
async fn answers(pair: &Pair) -> Vec<Answer> {
    let client = DirectoryClient::new(&pair.directory.url());
    let mut found = Vec::new();
    for path in PATHS {
        let Ok(answer) = client
            .get(path)
            .await
            .and_then(|reply| reply.typed::<serde_json::Value>())
        else {
            continue;
        };
        found.push(Answer {
            place: format!("started directory GET {path}"),
            source: "started directory".to_owned(),
            at: now(),
            answer: answer.value,
        });
    }
    // An idle connection would delay the stop.
    client.close();
    found
}
