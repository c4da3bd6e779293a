// Prints messages as Kafka's own classes write them, one a line: name, then bytes in hexadecimal.
// tests/wire_golden.rs holds its output, and runs it again where there is Java.
//
//   tools/kafka java tests/data/WireGolden.java

import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.List;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.metadata.*;
import org.apache.kafka.common.protocol.*;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.metadata.MetadataRecordSerde;
import org.apache.kafka.server.common.ApiMessageAndVersion;

public class WireGolden {
    static final Uuid ID = new Uuid(0x0102030405060708L, 0x090a0b0c0d0e0f10L);

    static void print(String name, ByteBuffer bytes) {
        byte[] copy = new byte[bytes.remaining()];
        bytes.duplicate().get(copy);
        System.out.println(name + " " + HexFormat.of().formatHex(copy));
    }

    static void frame(String name, Message header, short headerVersion, Message body, int version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int bytes = header.size(cache, headerVersion) + body.size(cache, (short) version);
        ByteBuffer frame = ByteBuffer.allocate(bytes);
        header.write(new ByteBufferAccessor(frame), cache, headerVersion);
        body.write(new ByteBufferAccessor(frame), cache, (short) version);
        frame.flip();
        print(name, frame);
    }

    static void request(String name, int version, ApiMessage body) {
        RequestHeader header = new RequestHeader(ApiKeys.forId(body.apiKey()), (short) version, "me", 7);
        frame(name, header.data(), header.headerVersion(), body, version);
    }

    static void response(String name, int version, ApiMessage body) {
        short headerVersion = ApiKeys.forId(body.apiKey()).responseHeaderVersion((short) version);
        frame(name, new ResponseHeaderData().setCorrelationId(7), headerVersion, body, version);
    }

    static void metadataRecord(String name, int version, ApiMessage record) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ApiMessageAndVersion value = new ApiMessageAndVersion(record, (short) version);
        ByteBuffer bytes = ByteBuffer.allocate(MetadataRecordSerde.INSTANCE.recordSize(value, cache));
        MetadataRecordSerde.INSTANCE.write(value, cache, new ByteBufferAccessor(bytes));
        bytes.flip();
        print(name, bytes);
    }

    static void controlRecord(String name, ApiMessage value) {
        print(name, MessageUtil.toByteBufferAccessor(value, (short) 0).buffer());
    }

    public static void main(String[] arguments) {
        MetadataRequestData metadata = new MetadataRequestData()
            .setTopics(List.of(new MetadataRequestData.MetadataRequestTopic().setName("a")));
        request("metadata-1", 1, metadata);
        request("metadata-12", 12, metadata);
        request("api-versions-4", 4,
            new ApiVersionsRequestData().setClientSoftwareName("tide").setClientSoftwareVersion("1"));
        request("api-versions-5", 5, new ApiVersionsRequestData()
            .setClientSoftwareName("tide").setClientSoftwareVersion("1").setClusterId("c").setNodeId(3));
        response("api-versions-answer-4", 4,
            new ApiVersionsResponseData().setFinalizedFeaturesEpoch(3).setZkMigrationReady(true));
        request("fetch-17", 17, new FetchRequestData()
            .setMaxWaitMs(500).setMinBytes(1).setSessionId(9).setSessionEpoch(2)
            .setReplicaState(new FetchRequestData.ReplicaState().setReplicaId(5).setReplicaEpoch(6))
            .setTopics(List.of(new FetchRequestData.FetchTopic().setTopicId(ID).setPartitions(List.of(
                new FetchRequestData.FetchPartition().setPartition(1).setFetchOffset(77).setPartitionMaxBytes(1000)
                    .setReplicaDirectoryId(ID))))));
        response("fetch-answer-17", 17, new FetchResponseData()
            .setSessionId(4)
            .setResponses(List.of(new FetchResponseData.FetchableTopicResponse().setTopicId(ID).setPartitions(List.of(
                new FetchResponseData.PartitionData().setPartitionIndex(1).setHighWatermark(8)
                    .setDivergingEpoch(new FetchResponseData.EpochEndOffset().setEpoch(1).setEndOffset(2))
                    .setRecords(MemoryRecords.EMPTY)))))
            .setNodeEndpoints(new FetchResponseData.NodeEndpointCollection(List.of(
                new FetchResponseData.NodeEndpoint().setNodeId(1).setHost("h").setPort(9)).iterator())));
        response("topic-partitions-answer-0", 0, new DescribeTopicPartitionsResponseData()
            .setNextCursor(new DescribeTopicPartitionsResponseData.Cursor().setTopicName("t").setPartitionIndex(2)));
        response("topic-partitions-answer-end-0", 0, new DescribeTopicPartitionsResponseData());
        metadataRecord("topic-0", 0, new TopicRecord().setName("foo").setTopicId(ID));
        metadataRecord("partition-change-2", 2, new PartitionChangeRecord()
            .setTopicId(ID).setPartitionId(2).setLeader(3).setIsr(List.of(3)).setEligibleLeaderReplicas(List.of()));
        metadataRecord("register-broker-3", 3, new RegisterBrokerRecord()
            .setBrokerId(1).setIncarnationId(ID).setBrokerEpoch(5).setRack(null).setLogDirs(List.of(ID)));
        metadataRecord("register-broker-4", 4, new RegisterBrokerRecord()
            .setBrokerId(1).setIncarnationId(ID).setBrokerEpoch(5).setRack(null).setLogDirs(List.of(ID))
            .setCordonedLogDirs(List.of(ID)));
        metadataRecord("broker-registration-change-3", 3, new BrokerRegistrationChangeRecord()
            .setBrokerId(1).setBrokerEpoch(5).setFenced((byte) -1).setCordonedLogDirs(List.of()));
        metadataRecord("unregister-controller-0", 0, new UnregisterControllerRecord().setControllerId(2));
        metadataRecord("begin-transaction-0", 0, new BeginTransactionRecord().setName("x"));
        List<LeaderChangeMessage.Voter> voters = List.of(new LeaderChangeMessage.Voter().setVoterId(1));
        controlRecord("leader-change", new LeaderChangeMessage().setLeaderId(1).setVoters(voters).setGrantingVoters(voters));
        controlRecord("voters", new VotersRecord().setVoters(List.of(new VotersRecord.Voter()
            .setVoterId(1).setVoterDirectoryId(ID)
            .setEndpoints(new VotersRecord.EndpointCollection(List.of(
                new VotersRecord.Endpoint().setName("C").setHost("h").setPort(65000)).iterator()))
            .setKRaftVersionFeature(new VotersRecord.KRaftVersionFeature().setMaxSupportedVersion((short) 1)))));
        print("commit", new EndTransactionMarker(ControlRecordType.COMMIT, 258).serializeValue());
    }
}
