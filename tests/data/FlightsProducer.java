import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Produces what Kafka's console producer cannot: records with the time of what they describe.
 *
 * <p>FlightsProducer HOST:PORT TOPIC CODEC flights.csv. The key is the aircraft, headers are carrier and origin, the
 * timestamp is the scheduled hour, the value is the line.
 */
public class FlightsProducer {
    public static void main(String[] args) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", args[0], "compression.type", args[2], "linger.ms", 20);
        List<String> lines = Files.readAllLines(Path.of(args[3]));
        AtomicReference<Exception> failure = new AtomicReference<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (String line : lines.subList(1, lines.size())) {
                String[] fields = line.split(",");
                List<Header> headers = List.of(header("carrier", fields[9]), header("origin", fields[12]));
                long timestamp = Instant.parse(fields[18]).toEpochMilli();
                producer.send(
                        new ProducerRecord<>(args[1], null, timestamp, bytes(fields[11]), bytes(line), headers),
                        (metadata, exception) -> {
                            if (exception != null) {
                                failure.compareAndSet(null, exception);
                            }
                        });
            }
        }
        if (failure.get() != null) {
            throw failure.get();
        }
    }

    private static Header header(String name, String value) {
        return new RecordHeader(name, bytes(value));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
