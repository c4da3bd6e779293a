"""A round of everything that people do with the newest librdkafka (PyPI's confluent-kafka), against the broker whose address
is given. What it expects, it asserts; the last line tells that all of it was seen."""

import sys
import threading

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

WAIT = 30
TOPIC = "round"
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
RECORDS = 200

address = sys.argv[1]
warnings = []


class Log:
    """What the library logs at its level "warning" and worse."""

    def log(self, level, message, *arguments):
        warnings.append(message % arguments if arguments else message)


def client(kind, **config):
    return kind({"bootstrap.servers": address, "log_level": 4, **config}, logger=Log())


def results(futures):
    return {key: future.result(WAIT) for key, future in futures.items()}


def delivered(producer, count, topic, partition, codec, first_ms):
    """Produces records and waits for their reports; the offsets, in the order of the records."""
    offsets = []

    def report(error, message):
        assert error is None, error
        offsets.append(message.offset())

    for number in range(count):
        value = f"{codec} {number} ".encode() * 20
        producer.produce(topic, value, key=str(number), partition=partition, timestamp=first_ms + number, on_delivery=report)
    assert producer.flush(WAIT) == 0
    assert len(offsets) == count
    return offsets


admin = AdminClient({"bootstrap.servers": address, "log_level": 4}, logger=Log())

# Nothing yet, and asked for all topics: the request with bytes behind its body.
metadata = admin.list_topics(timeout=WAIT)
assert metadata.topics == {}, metadata.topics
assert len(metadata.brokers) == 1

results(admin.create_topics([NewTopic(TOPIC, num_partitions=len(CODECS), config={"retention.ms": "-1"})]))
metadata = admin.list_topics(timeout=WAIT)
assert list(metadata.topics) == [TOPIC]
assert len(metadata.topics[TOPIC].partitions) == len(CODECS)
assert admin.list_topics(TOPIC, timeout=WAIT).topics[TOPIC].error is None
again = admin.create_topics([NewTopic(TOPIC)])[TOPIC].exception(WAIT)
assert again.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, again

# A partition for each codec, once by a plain producer and once by an idempotent one.
FIRST_MS = 1_700_000_000_000
for partition, codec in enumerate(CODECS):
    plain = client(Producer, **{"compression.type": codec, "linger.ms": 50})
    assert delivered(plain, RECORDS, TOPIC, partition, codec, FIRST_MS) == list(range(RECORDS))
    idempotent = client(Producer, **{"compression.type": codec, "linger.ms": 50, "enable.idempotence": True})
    offsets = delivered(idempotent, RECORDS, TOPIC, partition, codec, FIRST_MS + RECORDS)
    assert offsets == list(range(RECORDS, 2 * RECORDS))

consumer = client(Consumer, **{"group.id": "nobody", "enable.auto.commit": False, "enable.partition.eof": True})
consumer.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING) for partition in range(len(CODECS))])
seen = {partition: [] for partition in range(len(CODECS))}
ends = set()
while len(ends) < len(CODECS):
    message = consumer.poll(WAIT)
    assert message is not None, "nothing came"
    if message.error():
        assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
        ends.add(message.partition())
    else:
        seen[message.partition()].append(message)
for partition, codec in enumerate(CODECS):
    messages = seen[partition]
    assert [message.offset() for message in messages] == list(range(2 * RECORDS))
    for number, message in enumerate(messages):
        assert message.value() == f"{codec} {number % RECORDS} ".encode() * 20
        assert message.timestamp()[1] == FIRST_MS + number

assert consumer.get_watermark_offsets(TopicPartition(TOPIC, 1), timeout=WAIT) == (0, 2 * RECORDS)
at = [TopicPartition(TOPIC, 2, FIRST_MS + 17), TopicPartition(TOPIC, 3, FIRST_MS + 10 * RECORDS)]
assert [found.offset for found in consumer.offsets_for_times(at, timeout=WAIT)] == [17, -1]
consumer.close()

asked = {TopicPartition(TOPIC, 0): OffsetSpec.latest(), TopicPartition(TOPIC, 1): OffsetSpec.max_timestamp()}
found = results(admin.list_offsets(asked))
assert {key.partition: result.offset for key, result in found.items()} == {0: 2 * RECORDS, 1: 2 * RECORDS - 1}

topic = ConfigResource(ResourceType.TOPIC, TOPIC)
assert results(admin.describe_configs([topic]))[topic]["retention.ms"].value == "-1"
change = ConfigEntry("retention.ms", "86400000000000", incremental_operation=AlterConfigOpType.SET)
results(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=[change])]))
assert results(admin.describe_configs([topic]))[topic]["retention.ms"].value == "86400000000000"
broker = ConfigResource(ResourceType.BROKER, str(list(metadata.brokers)[0]))
assert results(admin.describe_configs([broker]))[broker]["log.retention.hours"].value == "168"

results(admin.create_partitions([NewPartitions(TOPIC, len(CODECS) + 2)]))
assert len(admin.list_topics(TOPIC, timeout=WAIT).topics[TOPIC].partitions) == len(CODECS) + 2
assert len(admin.describe_cluster().result(WAIT).nodes) == 1
results(admin.delete_records([TopicPartition(TOPIC, 0, 150)]))
reader = client(Consumer, **{"group.id": "nobody"})
assert reader.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=WAIT) == (150, 2 * RECORDS)

# Groups are not there yet: who subscribes is told, and does not wait for ever.
reader.subscribe([TOPIC])
message = reader.poll(WAIT)
assert message is not None and message.error() is not None, "a subscriber was told nothing"
print("subscriber:", message.error().name(), message.error().str())
reader.close()

# Nor are transactions.
transactional = client(Producer, **{"transactional.id": "mine"})
try:
    transactional.init_transactions(2)
    raise AssertionError("transactions were promised")
except KafkaException:
    pass

results(admin.create_topics([NewTopic("gone")]))
results(admin.delete_topics(["gone"]))
assert list(admin.list_topics(timeout=WAIT).topics) == [TOPIC]
print("warnings:", *warnings)
print("a whole round with librdkafka", confluent_kafka.libversion()[0])
