package ringmq.e2e;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Collects what a push consumer receives. */
final class Inbox {
    private final List<MessageExt> messages = Collections.synchronizedList(new ArrayList<>());

    MessageListenerConcurrently listener() {
        return (batch, context) -> {
            messages.addAll(batch);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
    }

    List<MessageExt> all() {
        synchronized (messages) {
            return new ArrayList<>(messages);
        }
    }

    int size() {
        return messages.size();
    }

    Set<String> bodies() {
        return all().stream().map(Inbox::body).collect(Collectors.toCollection(TreeSet::new));
    }

    static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** Waits for `count` distinct bodies, then for nothing more to come, and demands exactly `count` messages. */
    void expect(int count, long millis) throws InterruptedException {
        Check.within(millis, () -> bodies().size() >= count, () -> "received " + bodies().size() + " of " + count);
        Thread.sleep(300);
        Check.equal(count, size(), "messages received");
        Check.equal(count, bodies().size(), "distinct messages received");
    }

    /** The offsets of each queue must be dense from `first`. */
    void expectDense(long first) {
        Map<Integer, Set<Long>> offsets = new TreeMap<>();
        for (MessageExt m : all()) {
            offsets.computeIfAbsent(m.getQueueId(), q -> new TreeSet<>()).add(m.getQueueOffset());
        }
        offsets.forEach((queue, found) -> {
            long next = first;
            for (long offset : found) {
                Check.equal(next++, offset, "offset in queue " + queue);
            }
        });
    }

    /** The queues of `topic` that the consumer holds now. */
    static Set<MessageQueue> held(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).collect(Collectors.toCollection(TreeSet::new));
    }
}
