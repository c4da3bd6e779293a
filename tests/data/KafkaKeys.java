import java.util.Set;
import java.util.TreeSet;

import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.server.config.AbstractKafkaConfig;
import org.apache.kafka.storage.internals.log.LogConfig;

/** Every key that this release's brokers and topics know, one a line: its scope, the key, its default. */
public class KafkaKeys {
    public static void main(String[] args) {
        print("broker", AbstractKafkaConfig.CONFIG_DEF, AbstractKafkaConfig.CONFIG_DEF.names());
        print("topic", LogConfig.configDefCopy(), new TreeSet<>(LogConfig.nonInternalConfigNames()));
    }

    private static void print(String scope, ConfigDef definition, Set<String> names) {
        for (String name : new TreeSet<>(names)) {
            ConfigDef.ConfigKey key = definition.configKeys().get(name);
            if (key != null && !key.internalConfig) {
                System.out.println(scope + " " + name + "=" + (key.hasDefault() ? key.defaultValue : ""));
            }
        }
    }
}
