//! How the instances of a deployment are launched: commands, variables, and what is known to be impossible beforehand.

use crate::deployment::Service;
use crate::deployment::environment::{RuntimeKind, ServiceSettings, fill_in};
use crate::drills::context::UsageError;
use crate::drills::instances::{Containers, Deployment};
use crate::drills::isolation::is_outbound;
use crate::runtime::engine::ContainerLaunch;
use crate::runtime::ports;
use crate::runtime::process::Launch;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The issuer's key pair. Source: contract 1.2.
pub(crate) const ISSUER_PRIVATE: &str = "BEAM_DIRECTORY_SIGNING_PRIVATE_KEY";
const ISSUER_PUBLIC: &str = "BEAM_DIRECTORY_SIGNING_PUBLIC_KEY";

/// The ports inside containers: directory, bus. Each has an address of its own, so they never meet.
const INSIDE: [u16; 2] = [8_420, 8_421];
/// Where a container has its database, and the bus's identities.
const FOLDER: &str = "/drill/data";
const IDENTITIES: &str = "/drill/identities.json";

/// Where the instances of a pair are found by each other and by the harness.
pub(crate) struct Addresses {
    /// The ports that they listen on: directory, bus.
    pub(crate) ports: [u16; 2],
    /// Base URLs as the other service reaches them: directory, bus.
    pub(crate) urls: [String; 2],
    /// Names in the run's network; empty for processes.
    pub(crate) names: [String; 2],
}

impl Addresses {
    /// Processes on these loopback ports.
    pub(crate) fn loopback(ports: [u16; 2]) -> Addresses {
        Addresses {
            ports,
            urls: ports.map(|port| format!("http://127.0.0.1:{port}")),
            names: Default::default(),
        }
    }

    /// Containers of this run; no pair has the names of another.
    pub(crate) fn in_network(run: &str) -> Addresses {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // The end of an id is random, its beginning a time.
        let end = &run[run.len().saturating_sub(8)..];
        let names = Service::ALL.map(|service| format!("{service}-{number}-{end}"));
        let url = |at: usize| format!("http://{}:{}", names[at], INSIDE[at]);
        Addresses {
            ports: INSIDE,
            urls: [url(0), url(1)],
            names,
        }
    }
}

impl Deployment {
    /// The issuer's public key that every start of the directory is given: the environment's own, else the run's.
    #[must_use]
    pub fn issuer_key(&self) -> String {
        let given = self.environment.directory.env.get(ISSUER_PUBLIC);
        given.cloned().unwrap_or_else(|| self.issuer.public())
    }

    /// What can be known to be impossible before anything is started.
    ///
    /// # Errors
    /// [`UsageError`] for a runtime that does not exist here, a command that is not found, a given port that is taken.
    pub fn check(&self) -> Result<(), UsageError> {
        let [directory, bus] = Service::ALL.map(|service| self.environment.service(service).runtime);
        if directory != bus {
            return Err(UsageError(format!(
                "[directory] runtime = {:?} and [bus] runtime = {:?} cannot reach each other; give both the same runtime",
                directory.word(),
                bus.word()
            )));
        }
        for service in Service::ALL {
            match directory {
                RuntimeKind::Process => self.check_command(service)?,
                RuntimeKind::Container if self.containers.is_some() => {}
                RuntimeKind::Container | RuntimeKind::Attached => {
                    let word = directory.word();
                    let message =
                        format!("[{service}] runtime = {word:?} is not available here; use runtime = \"process\"");
                    return Err(UsageError(message));
                }
            }
            let is_taken = |port: &u16| self.enclosure.is_none() && !ports::is_free(*port);
            if let Some(port) = self.given_port(service).filter(is_taken) {
                let message = format!("[{service}] port {port} is taken; end what listens there or leave the port out");
                return Err(UsageError(message));
            }
        }
        let [directory, bus] = Service::ALL.map(|service| self.given_port(service));
        if directory.is_some() && directory == bus {
            return Err(UsageError(format!(
                "directory and bus are both given port {}",
                directory.unwrap_or_default()
            )));
        }
        Ok(())
    }

    fn check_command(&self, service: Service) -> Result<(), UsageError> {
        let settings = self.environment.service(service);
        let argv = self.argv(service);
        let program = argv.first().map_or("", String::as_str);
        if program.is_empty() {
            return Err(UsageError(format!(
                "[{service}] has no command and the reference services are not built"
            )));
        }
        if find_program(program, settings.cwd.as_deref()).is_none() {
            let message = format!("[{service}] command not found: {program}; check the path or install it");
            return Err(UsageError(message));
        }
        if let Some(cwd) = settings.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
            return Err(UsageError(format!("[{service}] cwd {} is not a folder", cwd.display())));
        }
        Ok(())
    }

    /// Makes sure that the images of both services are there, where they run in containers.
    ///
    /// # Errors
    /// [`UsageError`]: an image that the engine does not have.
    pub async fn check_images(&self) -> Result<(), UsageError> {
        let Some(containers) = &self.containers else {
            return Ok(());
        };
        for service in Service::ALL {
            let image = self.environment.service(service).image.as_deref();
            let ensured = containers.engine.ensure_image(image).await;
            ensured.map_err(|error| UsageError(format!("[{service}] {error}")))?;
        }
        Ok(())
    }

    /// The start command as the environment has it, for evidence: placeholders unexpanded.
    #[must_use]
    pub fn shown_command(&self, service: Service) -> String {
        let settings = self.environment.service(service);
        let command = if settings.is_reference() {
            format!("reference-services {service}")
        } else {
            settings.command.join(" ")
        };
        match (&self.containers, &settings.image) {
            (None, _) => command,
            (Some(_), None) => format!("container of the reference image: {command}"),
            (Some(_), Some(image)) => format!("container {image} {command}").trim_end().to_owned(),
        }
    }

    /// The port of this side that the environment fixes.
    pub(crate) fn given_port(&self, service: Service) -> Option<u16> {
        let settings = self.environment.service(service);
        match &self.containers {
            Some(_) => settings.port,
            None => settings.port.or_else(|| listens_on(settings)),
        }
    }

    fn argv(&self, service: Service) -> Vec<String> {
        let settings = self.environment.service(service);
        if settings.command.is_empty() {
            let program = self
                .reference_services
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default();
            vec![program, service.name().to_owned()]
        } else {
            settings.command.clone()
        }
    }

    /// How a service is started as a process on a file.
    #[must_use]
    pub(crate) fn launch(
        &self,
        service: Service,
        addresses: &Addresses,
        identity: &str,
        database: &Path,
        log: &Path,
    ) -> Launch {
        let files = [database.display().to_string(), self.identity_file.display().to_string()];
        let values = self.values(service, addresses, identity, &files);
        let settings = self.environment.service(service);
        let arguments = &self.overrides[usize::from(service == Service::Bus)].arguments;
        Launch {
            name: service.name().to_owned(),
            argv: self
                .argv(service)
                .iter()
                .map(|argument| fill_in(argument, &values))
                .chain(arguments.iter().cloned())
                .collect(),
            cwd: settings.cwd.clone().or_else(|| database.parent().map(Path::to_owned)),
            variables: self.variables(service, &values),
            log: log.to_owned(),
        }
    }

    /// How a service is started in a container on a file of this side.
    #[must_use]
    pub(crate) fn container_launch(
        &self,
        containers: &Containers,
        service: Service,
        addresses: &Addresses,
        identity: &str,
        (database, log): (&Path, &Path),
    ) -> ContainerLaunch {
        let at = usize::from(service == Service::Bus);
        let name = database.file_name().unwrap_or_default().to_string_lossy();
        let files = [format!("{FOLDER}/{name}"), IDENTITIES.to_owned()];
        let values = self.values(service, addresses, identity, &files);
        let settings = self.environment.service(service);
        let is_reference = settings.is_reference();
        let own = is_reference.then(|| service.name().to_owned());
        let given = settings.command.iter().map(|argument| fill_in(argument, &values));
        ContainerLaunch {
            owner: containers.owner.clone(),
            name: service.name().to_owned(),
            image: settings.image.clone(),
            arguments: own
                .into_iter()
                .chain(given)
                .chain(self.overrides[at].arguments.iter().cloned())
                .collect(),
            variables: self.variables(service, &values),
            host_name: addresses.names[at].clone(),
            port: listens_on(settings).unwrap_or(addresses.ports[at]),
            published: settings.port,
            database: database.to_owned(),
            folder: FOLDER.to_owned(),
            identity_file: self.identity_file.clone(),
            identities: IDENTITIES.to_owned(),
            log: log.to_owned(),
            mount: containers.mount,
            is_apart: self.has_real_data,
        }
    }

    /// Names and addresses of a further pair.
    pub(crate) fn addresses_in_network(&self, containers: &Containers) -> Addresses {
        let mut addresses = Addresses::in_network(&containers.owner.run);
        for (at, service) in Service::ALL.into_iter().enumerate() {
            if let Some(port) = listens_on(self.environment.service(service)) {
                addresses.ports[at] = port;
                addresses.urls[at] = format!("http://{}:{port}", addresses.names[at]);
            }
        }
        addresses
    }

    /// The documented variables, the environment file's, and what is deliberately other than documented, in this order.
    fn variables(&self, service: Service, values: &BTreeMap<&'static str, String>) -> BTreeMap<String, String> {
        let mut variables = self.documented_variables(service, values);
        let given = self.environment.service(service).env.iter();
        let given = given.filter(|(key, _)| !self.has_real_data || !is_outbound(key));
        variables.extend(given.map(|(key, value)| (key.clone(), fill_in(value, values))));
        let other = &self.overrides[usize::from(service == Service::Bus)];
        variables.retain(|key, _| !other.unset.contains(key));
        let set = other.set.iter();
        variables.extend(set.map(|(key, value)| (key.clone(), fill_in(value, values))));
        variables
    }

    /// What placeholders stand for; `files` are the database and the identity file as the service sees them.
    fn values(
        &self,
        service: Service,
        addresses: &Addresses,
        identity: &str,
        [database, identity_file]: &[String; 2],
    ) -> BTreeMap<&'static str, String> {
        let release = |value: &Option<String>| value.clone().unwrap_or_default();
        BTreeMap::from([
            (
                "port",
                addresses.ports[usize::from(service == Service::Bus)].to_string(),
            ),
            ("db", database.clone()),
            ("directory_url", addresses.urls[0].clone()),
            ("bus_url", addresses.urls[1].clone()),
            ("directory_identity", identity.to_owned()),
            ("identity_file", identity_file.clone()),
            ("release_version", release(&self.release.version)),
            ("release_sha", release(&self.release.git_sha)),
            ("deployed_at", release(&self.release.deployed_at)),
            ("jwt_secret", self.jwt_secret.clone()),
            ("bus_api_key", self.bus_key.clone()),
        ])
    }

    /// The variables that Beam documents, so that a short environment file is enough. Source: contract 1.2 and 3.1.
    fn documented_variables(
        &self,
        service: Service,
        values: &BTreeMap<&'static str, String>,
    ) -> BTreeMap<String, String> {
        let names: &[(&str, &str)] = match service {
            Service::Directory => &[
                ("PORT", "{port}"),
                ("DB_PATH", "{db}"),
                ("JWT_SECRET", "{jwt_secret}"),
                ("BEAM_DIRECTORY_URL", "{directory_identity}"),
                ("PUBLIC_BASE_URL", "{directory_identity}"),
                ("BEAM_RELEASE_VERSION", "{release_version}"),
                ("BEAM_RELEASE_SHA", "{release_sha}"),
                ("BEAM_DEPLOYED_AT", "{deployed_at}"),
                ("BEAM_RATE_LIMIT_PER_MIN", "10000"),
            ],
            Service::Bus => &[
                ("PORT", "{port}"),
                ("DB_PATH", "{db}"),
                ("DIRECTORY_URL", "{directory_url}"),
                ("IDENTITY_PATH", "{identity_file}"),
                ("BEAM_BUS_API_KEY", "{bus_api_key}"),
                ("RATE_LIMIT", "10000"),
            ],
        };
        let mut variables: BTreeMap<String, String> = names
            .iter()
            .map(|(name, value)| ((*name).to_owned(), fill_in(value, values)))
            .collect();
        if service == Service::Directory {
            variables.insert("BEAM_ADMIN_EMAILS".to_owned(), self.admin_email.clone());
            variables.insert(ISSUER_PRIVATE.to_owned(), self.issuer.private());
            variables.insert(ISSUER_PUBLIC.to_owned(), self.issuer.public());
        }
        variables
    }
}

/// The port that the environment tells the service to listen on: by a literal `PORT`, or by a literal `--port` argument.
fn listens_on(settings: &ServiceSettings) -> Option<u16> {
    let after_flag = || {
        let at = settings.command.iter().position(|argument| argument == "--port")?;
        settings.command.get(at + 1)?.parse().ok()
    };
    let variable = settings.env.get("PORT").and_then(|port| port.parse().ok());
    variable.or_else(after_flag)
}

/// The program's file, searched for as `execvp` would.
pub(crate) fn find_program(program: &str, cwd: Option<&Path>) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runnable = |path: &Path| {
        path.metadata()
            .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let path = cwd.map_or_else(|| PathBuf::from(program), |cwd| cwd.join(program));
        return runnable(&path).then_some(path);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| runnable(file))
}
