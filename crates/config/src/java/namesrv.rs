//! Keys of Java's `namesrv.conf` that are not honoured, by reason.
//!
//! Every setter of `NamesrvConfig`, `NettyServerConfig`, `NettyClientConfig`, `ControllerConfig` and
//! `JraftConfig`, 4.1.0 to 5.x.

use super::{Group, Refusal, why};

/// Values that ask for something that is missing.
pub(super) const REFUSED: &[Refusal] = &[
    Refusal {
        name: "enableControllerInNamesrv",
        accepted: &["false", ""],
        why: "the controller is not served yet",
    },
    Refusal {
        name: "useTLS",
        accepted: &["false", ""],
        why: "TLS is not served yet",
    },
];

/// Keys without effect.
pub(super) const IGNORED: &[Group] = &[
    Group {
        why: why::PROGRAM,
        names: &[
            "clusterTest",
            "configBlackList",
            "configStorePath",
            "productEnvName",
            "rocketmqHome",
        ],
    },
    Group {
        why: why::THREADS,
        names: &[
            "clientAsyncSemaphoreValue",
            "clientCallbackExecutorThreads",
            "clientOnewaySemaphoreValue",
            "clientRequestThreadPoolNums",
            "clientRequestThreadPoolQueueCapacity",
            "clientWorkerThreads",
            "controllerRequestThreadPoolQueueCapacity",
            "controllerThreadPoolNums",
            "defaultThreadPoolNums",
            "defaultThreadPoolQueueCapacity",
            "disableCallbackExecutor",
            "disableNettyWorkerGroup",
            "processReadEvent",
            "serverAsyncSemaphoreValue",
            "serverCallbackExecutorThreads",
            "serverNettyWorkerGroupEnable",
            "serverOnewaySemaphoreValue",
            "serverSelectorThreads",
            "serverWorkerThreads",
            "unRegisterBrokerQueueCapacity",
        ],
    },
    Group {
        why: why::LAYOUT,
        names: &["mappedFileSize"],
    },
    Group {
        why: why::REPLICATION,
        names: &["notifyMinBrokerIdChanged"],
    },
    Group {
        why: why::CONTROLLER,
        names: &[
            "controllerDLegerGroup",
            "controllerDLegerPeers",
            "controllerDLegerSelfId",
            "controllerStorePath",
            "controllerType",
            "electMasterMaxRetryCount",
            "enableElectUncleanMaster",
            "jraftConfig",
            "jRaftControllerRPCAddr",
            "jRaftElectionTimeoutMs",
            "jRaftGroupId",
            "jRaftInitConf",
            "jRaftScanWaitTimeoutMs",
            "jRaftServerId",
            "jRaftSnapshotIntervalSecs",
            "notifyBrokerRoleChanged",
            "scanInactiveMasterInterval",
        ],
    },
    Group {
        why: why::METRICS,
        names: &[
            "metricGrpcExporterIntervalInMills",
            "metricGrpcExporterTimeOutInMills",
            "metricLoggingExporterIntervalInMills",
            "metricsExporterType",
            "metricsGrpcExporterHeader",
            "metricsGrpcExporterTarget",
            "metricsInDelta",
            "metricsLabel",
            "metricsPromExporterHost",
            "metricsPromExporterPort",
        ],
    },
    Group {
        why: why::NETTY,
        names: &[
            "channelNotActiveInterval",
            "clientChannelMaxIdleTimeSeconds",
            "clientCloseSocketIfTimeout",
            "clientPooledByteBufAllocatorEnable",
            "clientSocketRcvBufSize",
            "clientSocketSndBufSize",
            "connectTimeoutMillis",
            "enableReconnectForGoAway",
            "enableShutdownGracefully",
            "enableTransparentRetry",
            "maxReconnectIntervalTimeSeconds",
            "scanAvailableNameSrv",
            "serverPooledByteBufAllocatorEnable",
            "serverSocketBacklog",
            "serverSocketRcvBufSize",
            "serverSocketSndBufSize",
            "shutdownWaitTimeSeconds",
            "socksProxyConfig",
            "useEpollNativeSelector",
            "writeBufferHighWaterMark",
            "writeBufferLowWaterMark",
        ],
    },
];
