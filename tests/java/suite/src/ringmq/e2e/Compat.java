package ringmq.e2e;

import java.lang.reflect.Method;
import java.util.Collections;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/**
 * The few calls whose types or signatures moved between client 4.8.0 and 5.5.0, by reflection, so
 * that one source compiles against every version.
 */
final class Compat {
    private Compat() {
    }

    /** MessageModel lives in common.protocol.heartbeat (4.x) or remoting.protocol.heartbeat (5.x). */
    @SuppressWarnings({"unchecked", "rawtypes"})
    static void broadcasting(DefaultMQPushConsumer consumer) throws Exception {
        for (Method m : DefaultMQPushConsumer.class.getMethods()) {
            if (m.getName().equals("setMessageModel")) {
                m.invoke(consumer, Enum.valueOf((Class) m.getParameterTypes()[0], "BROADCASTING"));
                return;
            }
        }
        throw new NoSuchMethodException("setMessageModel");
    }

    /** 4.x: createTopic(key, topic, queues); 5.x adds an attribute map. */
    static void createTopic(DefaultMQProducer producer, String key, String topic, int queues) throws Exception {
        try {
            Method m = DefaultMQProducer.class.getMethod(
                "createTopic", String.class, String.class, int.class, Map.class);
            m.invoke(producer, key, topic, queues, Collections.<String, String>emptyMap());
        } catch (NoSuchMethodException e) {
            Method m = DefaultMQProducer.class.getMethod("createTopic", String.class, String.class, int.class);
            m.invoke(producer, key, topic, queues);
        }
    }
}
