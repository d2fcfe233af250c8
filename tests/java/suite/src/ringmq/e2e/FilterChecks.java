package ringmq.e2e;

import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** SQL92 filters, on a broker with enablePropertyFilter=true. */
final class FilterChecks {
    private FilterChecks() {
    }

    static void register(Check checks) {
        checks.add("a_push_consumer_receives_what_its_sql_is_true_for", FilterChecks::push);
        checks.add("a_lite_pull_consumer_filters_by_sql", FilterChecks::pull);
        checks.add("a_broken_sql_expression_is_refused_at_the_start", FilterChecks::broken);
    }

    /** Messages "0" to "9" with the property `a` of that value; odd ones also have `b`. */
    private static void send(DefaultMQProducer producer, String topic) throws Exception {
        for (int i = 0; i < 10; i++) {
            Message message = Scope.message(topic, i < 5 ? "Low" : "High", String.valueOf(i));
            message.putUserProperty("a", String.valueOf(i));
            if (i % 2 == 1) {
                message.putUserProperty("b", "it's " + i);
            }
            Scope.ok(producer.send(message));
        }
    }

    private static Set<String> bodies(List<MessageExt> messages) {
        Set<String> bodies = new TreeSet<>();
        for (MessageExt message : messages) {
            bodies.add(Inbox.body(message));
        }
        return bodies;
    }

    private static void push(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scope.push("CID");
        consumer.subscribe(topic, MessageSelector.bySql(
            "(TAGS = 'High' AND a BETWEEN 6 AND 8) OR b IN ('it''s 1', 'it''s 3') OR missing IS NOT NULL"));
        consumer.registerMessageListener(inbox.listener());
        scope.start(consumer);
        send(producer, topic);
        Check.within(60_000, () -> inbox.size() >= 5, () -> "received " + inbox.size());
        Thread.sleep(500);
        Check.equal("[1, 3, 6, 7, 8]", new TreeSet<>(inbox.bodies()).toString(), "received");
    }

    private static void pull(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 1);
        send(producer, topic);
        DefaultLitePullConsumer lite = scope.lite("CID_lite");
        lite.subscribe(topic, MessageSelector.bySql("b IS NULL"));
        scope.start(lite);
        Set<String> polled = new TreeSet<>();
        Check.within(60_000, () -> {
            polled.addAll(bodies(lite.poll(500)));
            return polled.size() >= 5;
        }, () -> "polled " + polled);
        Check.equal("[0, 2, 4, 6, 8]", polled.toString(), "polled");
    }

    private static void broken(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 1);
        DefaultMQPushConsumer consumer = scope.push("CID");
        consumer.subscribe(topic, MessageSelector.bySql("a > 'x'"));
        consumer.registerMessageListener(new Inbox().listener());
        try {
            scope.start(consumer);
        } catch (MQClientException e) {
            consumer.shutdown();
            Check.equal(23, e.getResponseCode(), "code");
            Check.that(e.getErrorMessage().contains("Value ''x'' cannot be compared."), "the reason: " + e.getErrorMessage());
            return;
        }
        throw new AssertionError("the consumer started");
    }
}
