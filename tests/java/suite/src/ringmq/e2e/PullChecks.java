package ringmq.e2e;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Clients that pull by themselves, and the offset queries. */
final class PullChecks {
    private PullChecks() {
    }

    static void register(Check checks) {
        checks.add("every_pull_status_is_answered", PullChecks::statuses);
        checks.add("offsets_are_found_by_bound_and_by_time", PullChecks::offsets);
        checks.add("a_committed_offset_is_read_back", PullChecks::commit);
        checks.add("a_lite_pull_consumer_polls_everything_and_commits", PullChecks::lite);
        checks.add("a_lite_pull_consumer_seeks_in_assigned_queues", PullChecks::liteAssigned);
    }

    private static void statuses(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 1);
        DefaultMQPullConsumer consumer = scope.pull("CID");
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        Check.equal(PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", 0, 8).getPullStatus(), "empty queue from 0");
        Check.equal(PullStatus.OFFSET_ILLEGAL, consumer.pull(queue, "*", 5, 8).getPullStatus(), "empty queue from 5");
        Scope.send(producer, topic, "pulled", 20);
        Check.within(5_000, () -> maxOffset(producer, queue) == 20, () -> "max offset " + maxOffset(producer, queue));
        PullResult found = consumer.pull(queue, "*", 4, 8);
        Check.equal(PullStatus.FOUND, found.getPullStatus(), "from 4");
        Check.equal(8, found.getMsgFoundList().size(), "messages of a pull of 8");
        Check.equal(12L, found.getNextBeginOffset(), "next offset");
        Check.equal(0L, found.getMinOffset(), "min offset");
        Check.equal(20L, found.getMaxOffset(), "max offset");
        Check.equal("pulled 4", Inbox.body(found.getMsgFoundList().get(0)), "first body");
        Check.equal(4L, found.getMsgFoundList().get(0).getQueueOffset(), "first offset");
        Check.equal(PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", 20, 8).getPullStatus(), "at the end");
        PullResult beyond = consumer.pull(queue, "*", 1000, 8);
        Check.equal(PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus(), "beyond the end");
        Check.equal(20L, beyond.getNextBeginOffset(), "next offset beyond the end");
        PullResult unmatched = consumer.pull(queue, "TagZ", 0, 8);
        Check.equal(PullStatus.NO_MATCHED_MSG, unmatched.getPullStatus(), "no such tag");
        Check.equal(20L, unmatched.getNextBeginOffset(), "next offset without a match");
        Thread sender = new Thread(() -> {
            try {
                Thread.sleep(500);
                Scope.send(producer, topic, "late", 1);
            } catch (Exception e) {
                System.err.println("late send: " + e);
            }
        });
        sender.start();
        long start = System.nanoTime();
        PullResult late = consumer.pullBlockIfNotFound(queue, "*", 20, 8);
        Check.equal(PullStatus.FOUND, late.getPullStatus(), "a pull that waits");
        long took = (System.nanoTime() - start) / 1_000_000;
        Check.that(took > 300 && took < 6000, "a pull that waits came back after " + took + " ms");
        sender.join();
    }

    private static long maxOffset(DefaultMQProducer producer, MessageQueue queue) {
        try {
            return producer.maxOffset(queue);
        } catch (Exception e) {
            return -1;
        }
    }

    private static void offsets(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 1);
        long before = System.currentTimeMillis() - 10_000;
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        Check.equal(0L, producer.maxOffset(queue), "max offset of an empty queue");
        Scope.send(producer, topic, "early", 3);
        Thread.sleep(400);
        long middle = System.currentTimeMillis();
        Thread.sleep(400);
        Scope.send(producer, topic, "late", 4);
        Check.within(5_000, () -> maxOffset(producer, queue) == 7, () -> "max offset " + maxOffset(producer, queue));
        Check.equal(0L, producer.minOffset(queue), "min offset");
        Check.equal(0L, producer.searchOffset(queue, before), "offset of a time before all");
        Check.equal(3L, producer.searchOffset(queue, middle), "offset of a time between");
    }

    private static void commit(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 2);
        SendResult sent = Scope.send(producer, topic, "committed", 10).get(0);
        DefaultMQPullConsumer consumer = scope.pull("CID");
        MessageQueue queue = sent.getMessageQueue();
        consumer.pull(queue, "*", 0, 8);
        consumer.updateConsumeOffset(queue, 3);
        consumer.getOffsetStore().persist(queue);
        Check.within(5_000, () -> fetch(consumer, queue) == 3, () -> "the broker answered " + fetch(consumer, queue) + " instead of 3");
    }

    private static long fetch(DefaultMQPullConsumer consumer, MessageQueue queue) {
        try {
            return consumer.fetchConsumeOffset(queue, true);
        } catch (Exception e) {
            return -9;
        }
    }

    private static void lite(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 4);
        Scope.send(producer, topic, "lite", 60);
        DefaultLitePullConsumer first = scope.lite("CID");
        first.setAutoCommit(false);
        first.subscribe(topic, "*");
        first.start();
        Set<String> bodies = pollUntil(first, 60);
        Check.equal(60, bodies.size(), "polled");
        first.commitSync();
        Thread.sleep(1000);
        first.shutdown();
        Scope.send(producer, topic, "more", 12);
        DefaultLitePullConsumer second = scope.lite("CID");
        second.subscribe(topic, "*");
        scope.start(second);
        Set<String> more = pollUntil(second, 12);
        Check.equal(12, more.size(), "polled after a commit");
        for (String body : more) {
            Check.that(body.startsWith("more"), "polled again: " + body);
        }
    }

    private static Set<String> pollUntil(DefaultLitePullConsumer consumer, int count) {
        Set<String> bodies = new TreeSet<>();
        long end = System.nanoTime() + 60_000_000_000L;
        while (bodies.size() < count && System.nanoTime() < end) {
            for (MessageExt m : consumer.poll(500)) {
                bodies.add(Inbox.body(m));
            }
        }
        return bodies;
    }

    private static void liteAssigned(Scope scope) throws Exception {
        DefaultMQProducer producer = scope.producer();
        String topic = scope.topic(producer, 1);
        Scope.send(producer, topic, "seek", 30);
        DefaultLitePullConsumer consumer = scope.start(scope.lite("CID"));
        List<MessageQueue> queues = new ArrayList<>(consumer.fetchMessageQueues(topic));
        Check.equal(1, queues.size(), "queues");
        consumer.assign(Collections.singletonList(queues.get(0)));
        consumer.seek(queues.get(0), 20);
        // Clients begin to pull when a queue is assigned: what they fetched before the seek may come first.
        Check.that(pollUntil(consumer, "seek 29").contains("seek 20"), "20 comes before 29");
        consumer.seek(queues.get(0), 5);
        Set<String> again = pollUntil(consumer, "seek 9");
        Check.that(again.contains("seek 5"), "polled after going back: " + again);
    }

    /** Polls until a body has come. Client 4.8 seeks when its pull comes back, which may wait for 20 seconds. */
    private static Set<String> pollUntil(DefaultLitePullConsumer consumer, String last) {
        Set<String> bodies = new TreeSet<>();
        long end = System.nanoTime() + 60_000_000_000L;
        while (!bodies.contains(last)) {
            Check.that(System.nanoTime() < end, last + " did not come, but " + bodies);
            for (MessageExt message : consumer.poll(500)) {
                bodies.add(Inbox.body(message));
            }
        }
        return bodies;
    }
}
