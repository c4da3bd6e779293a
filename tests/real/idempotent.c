// An idempotent producer that outlives its broker, and a reader of everything that is there.
//
//   idempotent produce ADDRESS TOPIC PARTITIONS NAME ACKS   until standard input ends; then waits for what is in flight
//   idempotent consume ADDRESS TOPIC PARTITIONS             to the end of every partition
//
// A record's key is "NAME NUMBER", with a number that counts up in each partition; its value is a letter, repeated: both
// follow from the number. ACKS gets a line "PARTITION OFFSET NUMBER" for each acknowledged record, written at once.
// `consume` prints "PARTITION OFFSET NAME NUMBER" for each record that is what it should be.
#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PARTITIONS_MAX = 64, VALUE_MAX = 8192, FINISH_MS = 60000 };

static int acks;
static long failed;

static void die(const char *what, const char *why) {
  fprintf(stderr, "idempotent: %s: %s\n", what, why);
  exit(1);
}

static size_t value_len(long number) { return 16 + (size_t)(number * 2654435761u) % (VALUE_MAX - 16); }

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
  (void)client, (void)opaque;
  if (message->err) {
    failed++;
    fprintf(stderr, "idempotent: not delivered: %s\n", rd_kafka_err2str(message->err));
    return;
  }
  char line[96];
  const char *number = (const char *)memchr(message->key, ' ', message->key_len) + 1;
  int number_len = (int)((const char *)message->key + message->key_len - number);
  int len = snprintf(line, sizeof line, "%d %lld %.*s\n", message->partition, (long long)message->offset, number_len, number);
  if (write(acks, line, (size_t)len) != len) die("cannot note an acknowledgement", "write failed");
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value) {
  char why[512];
  if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK) die(key, why);
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf, const char *address) {
  char why[512];
  set(conf, "bootstrap.servers", address);
  set(conf, "reconnect.backoff.ms", "10");
  set(conf, "reconnect.backoff.max.ms", "50");
  set(conf, "log_level", "2");
  rd_kafka_t *made = rd_kafka_new(type, conf, why, sizeof why);
  if (!made) die("cannot make a client", why);
  return made;
}

static int produce(const char *address, const char *topic, int partitions, const char *name, const char *file) {
  acks = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
  if (acks < 0) die(file, "cannot create");
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  set(conf, "enable.idempotence", "true");
  set(conf, "message.timeout.ms", "300000");
  set(conf, "retry.backoff.ms", "10");
  set(conf, "queue.buffering.max.messages", "1000");
  set(conf, "linger.ms", "1");
  set(conf, "batch.num.messages", "20");
  rd_kafka_conf_set_dr_msg_cb(conf, delivered);
  rd_kafka_t *producer = client(RD_KAFKA_PRODUCER, conf, address);
  rd_kafka_topic_t *to = rd_kafka_topic_new(producer, topic, NULL);
  static char value[VALUE_MAX];
  struct pollfd stdin_ends = {0, POLLIN, 0};
  for (long i = 0; !failed && poll(&stdin_ends, 1, 0) == 0; i++) {
    char key[64];
    long number = i / partitions;
    int key_len = snprintf(key, sizeof key, "%s %ld", name, number);
    memset(value, 'a' + number % 26, value_len(number));
    while (rd_kafka_produce(to, (int)(i % partitions), RD_KAFKA_MSG_F_COPY, value, value_len(number), key, (size_t)key_len, NULL)) {
      if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) die("produce", rd_kafka_err2str(rd_kafka_last_error()));
      rd_kafka_poll(producer, 5);
      if (poll(&stdin_ends, 1, 0) != 0) break;
    }
    rd_kafka_poll(producer, 0);
  }
  rd_kafka_flush(producer, FINISH_MS);
  char why[512];
  if (rd_kafka_fatal_error(producer, why, sizeof why)) die("fatal", why);
  return failed ? 1 : 0;
}

static int consume(const char *address, const char *topic, int partitions) {
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  set(conf, "group.id", "none");
  set(conf, "enable.auto.commit", "false");
  set(conf, "enable.partition.eof", "true");
  set(conf, "check.crcs", "true");
  rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, conf, address);
  rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(partitions);
  for (int p = 0; p < partitions; p++) rd_kafka_topic_partition_list_add(all, topic, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
  rd_kafka_assign(consumer, all);
  for (int left = partitions; left > 0;) {
    rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, FINISH_MS);
    if (!message) die("consume", "nothing comes any more");
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      left--;
    } else if (message->err) {
      die("consume", rd_kafka_message_errstr(message));
    } else {
      const char *value = message->payload;
      char key[64] = "";
      memcpy(key, message->key, message->key_len < sizeof key ? message->key_len : sizeof key - 1);
      long number = atol(key + strcspn(key, " "));
      if (message->len != value_len(number)) die("a value", "of the wrong length");
      for (size_t i = 0; i < message->len; i++)
        if (value[i] != 'a' + number % 26) die("a value", "not what was produced");
      printf("%d %lld %s\n", message->partition, (long long)message->offset, key);
    }
    rd_kafka_message_destroy(message);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 7 && !strcmp(argv[1], "produce")) return produce(argv[2], argv[3], atoi(argv[4]), argv[5], argv[6]);
  if (argc == 5 && !strcmp(argv[1], "consume")) return consume(argv[2], argv[3], atoi(argv[4]));
  fprintf(stderr, "see the head of idempotent.c\n");
  return 2;
}
