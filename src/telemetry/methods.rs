//! The methods and the status codes of gRPC, as labels: sets that no client can enlarge.

/// The number of status codes of gRPC, from `OK` to `UNAUTHENTICATED`.
pub const N_CODES: usize = 17;

/// The names of the status codes, by number.
pub const CODES: [&str; N_CODES] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The number of methods that are told apart.
pub const N_METHODS: usize = METHODS.len();

/// The methods, as `rpc.method` names them. The last one stands for all that iamd does not know, as OpenTelemetry asks.
const METHODS: [&str; 17] = [
    "iamd.v1.AuthorizationService/Authorize",
    "iamd.v1.AuthorizationService/BatchAuthorize",
    "iamd.v1.AuthorizationService/StreamAuthorize",
    "iamd.v1.AuthorizationService/Explain",
    "iamd.v1.AuthorizationService/Simulate",
    "iamd.v1.AuthorizationService/ListPermissions",
    "iamd.v1.AuthorizationService/ListPrincipals",
    "iamd.v1.AuthorizationService/ListContextKeys",
    "iamd.v1.AuthorizationService/Status",
    "iamd.v1.AuthorizationService/WatchRevision",
    "envoy.service.auth.v3.Authorization/Check",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.health.v1.Health/List",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "_OTHER",
];

/// A method of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcMethod(usize);

impl RpcMethod {
    /// Returns the method of a path such as `/iamd.v1.AuthorizationService/Authorize`.
    pub fn of(path: &str) -> Self {
        let name = path.strip_prefix('/').unwrap_or(path);
        let known = METHODS.iter().position(|method| *method == name);
        Self(known.unwrap_or(N_METHODS - 1))
    }

    /// Returns every method.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..N_METHODS).map(Self)
    }

    /// Returns the name.
    pub fn name(self) -> &'static str {
        METHODS.get(self.0).copied().unwrap_or("_OTHER")
    }

    /// Returns the place in a table by method.
    pub(super) fn index(self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_has_the_name_of_its_path_unless_nobody_knows_it() {
        for method in RpcMethod::all() {
            assert_eq!(RpcMethod::of(&format!("/{}", method.name())), method);
        }
        for unknown in ["", "/", "/a/b", "/iamd.v1.AuthorizationService/", "_OTHER2"] {
            assert_eq!(RpcMethod::of(unknown).name(), "_OTHER", "{unknown}");
        }
    }
}
