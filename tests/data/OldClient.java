import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * Creates a topic, produces to it and reads it back, with whatever version of Kafka's clients it is run against.
 *
 * <p>OldClient HOST:PORT TOPIC RECORDS prints that version and how many records came back.
 */
public class OldClient {
    public static void main(String[] args) throws Exception {
        String topic = args[1];
        int records = Integer.parseInt(args[2]);
        Map<String, Object> settings = Map.of("bootstrap.servers", args[0], "request.timeout.ms", 20_000);
        try (Admin admin = Admin.create(settings)) {
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
        }
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < records; i++) {
                producer.send(new ProducerRecord<>(topic, 0, "key", "record " + i));
            }
            producer.flush();
        }
        TopicPartition partition = new TopicPartition(topic, 0);
        List<String> values = new ArrayList<>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            while (consumer.position(partition) < end) {
                consumer.poll(Duration.ofSeconds(5)).forEach(record -> values.add(record.value()));
            }
        }
        for (int i = 0; i < values.size(); i++) {
            if (!values.get(i).equals("record " + i)) {
                throw new AssertionError(i + ": " + values.get(i));
            }
        }
        System.out.println(AppInfoParser.getVersion() + ": " + values.size() + " records");
    }
}
