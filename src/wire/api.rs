//! The one table of APIs: key, messages, and the versions that are served.

use super::codec::{Reader, WireError, Writer};
use super::connect::*;
use super::declare::{Message, Struct, Versions};
use super::header::HeaderVersion;
use super::metadata::*;

/// A request that has a row in the table.
pub trait Request: Message {
    const KEY: ApiKey;
    type Response: Message;
}

/// A message's declaration as a value, for tools and tests that go through all of them.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    pub name: &'static str,
    /// All that can be read and written; a broker may serve fewer.
    pub versions: Versions,
    pub flexible: Versions,
    pub fields: &'static Struct,
    /// Decodes a message and encodes what was understood.
    pub recode: fn(&mut Reader<'_>, &mut Writer, i16) -> Result<(), WireError>,
}

impl Declaration {
    pub const fn of<M: Message>() -> Declaration {
        Declaration {
            name: M::NAME,
            versions: M::VERSIONS,
            flexible: M::FLEXIBLE,
            fields: M::STRUCT,
            recode: |r, w, version| M::decode(r, version)?.encode(w, version),
        }
    }
}

macro_rules! apis {
    ($($name:ident = $key:literal, $request:ident => $response:ident, serves $served:literal;)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            /// Every API that has a declaration, by ascending key.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name,)*];

            pub const fn from_code(code: i16) -> Option<ApiKey> {
                match code {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// The versions that clients are told of and may use; none for what only controllers speak.
            pub const fn served(self) -> Versions {
                match self {
                    $(ApiKey::$name => const { Versions::parse($served) },)*
                }
            }

            pub const fn request(self) -> Declaration {
                match self {
                    $(ApiKey::$name => const { Declaration::of::<$request>() },)*
                }
            }

            pub const fn response(self) -> Declaration {
                match self {
                    $(ApiKey::$name => const { Declaration::of::<$response>() },)*
                }
            }

            /// Whether requests and responses of this version are flexible (KIP-482); they always agree.
            pub const fn is_flexible(self, version: i16) -> bool {
                match self {
                    $(ApiKey::$name => <$request as Message>::FLEXIBLE.contains(version),)*
                }
            }
        }

        $(impl Request for $request {
            const KEY: ApiKey = ApiKey::$name;
            type Response = $response;
        })*
    };
}

// What Kafka 4.1's broker serves with default settings.
apis! {
    Metadata = 3, MetadataRequest => MetadataResponse, serves "0-13";
    FindCoordinator = 10, FindCoordinatorRequest => FindCoordinatorResponse, serves "0-6";
    SaslHandshake = 17, SaslHandshakeRequest => SaslHandshakeResponse, serves "0-1";
    ApiVersions = 18, ApiVersionsRequest => ApiVersionsResponse, serves "0-4";
    SaslAuthenticate = 36, SaslAuthenticateRequest => SaslAuthenticateResponse, serves "0-2";
    DescribeCluster = 60, DescribeClusterRequest => DescribeClusterResponse, serves "0-2";
    GetTelemetrySubscriptions = 71, GetTelemetrySubscriptionsRequest => GetTelemetrySubscriptionsResponse, serves "none";
    PushTelemetry = 72, PushTelemetryRequest => PushTelemetryResponse, serves "none";
    DescribeTopicPartitions = 75, DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse, serves "0";
}

impl ApiKey {
    pub const fn code(self) -> i16 {
        self as i16
    }

    pub const fn request_header(self, version: i16) -> HeaderVersion {
        if self.is_flexible(version) {
            HeaderVersion::Flexible
        } else {
            HeaderVersion::Plain
        }
    }

    /// The answer to ApiVersions must be understood by a client that does not know yet what we speak, so that its header
    /// is never flexible (KIP-511).
    pub const fn response_header(self, version: i16) -> HeaderVersion {
        match self {
            ApiKey::ApiVersions => HeaderVersion::Plain,
            _ => self.request_header(version),
        }
    }

    /// What ApiVersions answers.
    pub fn advertised() -> impl Iterator<Item = ApiVersion> {
        ApiKey::ALL
            .iter()
            .map(|api| (api, api.served()))
            .filter(|(_, served)| *served != Versions::NONE)
            .map(|(api, served)| ApiVersion {
                api_key: api.code(),
                min_version: served.min,
                max_version: served.max,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_versions_can_be_read_and_written() {
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_code(api.code()), Some(*api));
            let (request, response) = (api.request(), api.response());
            assert_eq!(request.name, format!("{api:?}Request"));
            assert_eq!(response.name, format!("{api:?}Response"));
            assert_eq!(request.versions, response.versions, "{api:?}");
            let served = api.served();
            for version in served.min..=served.max {
                assert!(request.versions.contains(version), "{api:?} {version}");
                assert_eq!(
                    request.flexible.contains(version),
                    response.flexible.contains(version),
                    "{api:?}"
                );
            }
        }
    }
}
