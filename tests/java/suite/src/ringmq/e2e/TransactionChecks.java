package ringmq.e2e;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Transactions of the official producer. The broker asks every 2 s, from 1 s on, three times at
 * most: `transactionCheckInterval`, `transactionTimeOut`, `transactionCheckMax` of the system under test.
 */
final class TransactionChecks {
    private static final long LIMIT_MS = 60_000;
    private static final int CHECKS_MAX = 3;
    private static final String GIVEN_UP = "TRANS_CHECK_MAX_TIME_TOPIC";

    private TransactionChecks() {
    }

    static void register(Check checks) {
        checks.add("a_committed_transaction_is_consumed_once", TransactionChecks::commit);
        checks.add("a_rolled_back_transaction_is_never_consumed", TransactionChecks::rollback);
        checks.add("a_transaction_left_open_is_asked_about_and_committed", TransactionChecks::open);
        checks.add("another_producer_of_the_group_answers_for_one_that_is_gone", TransactionChecks::gone);
        checks.add("a_transaction_that_nobody_decides_is_given_up", TransactionChecks::undecided);
        checks.add("a_transaction_that_asks_for_time_is_not_asked_about_before", TransactionChecks::immune);
        checks.add("transactions_of_many_threads_end_as_each_says", TransactionChecks::many);
    }

    /** Answers as it is told, and keeps what it was asked. */
    private static final class Listener implements TransactionListener {
        private final Function<Message, LocalTransactionState> first;
        private final Function<MessageExt, LocalTransactionState> later;
        final List<MessageExt> asked = Collections.synchronizedList(new ArrayList<>());

        Listener(Function<Message, LocalTransactionState> first, Function<MessageExt, LocalTransactionState> later) {
            this.first = first;
            this.later = later;
        }

        static Listener always(LocalTransactionState state) {
            return new Listener(message -> state, message -> state);
        }

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return first.apply(message);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            asked.add(message);
            return later.apply(message);
        }
    }

    private static TransactionMQProducer producer(Scope scope, String group, Listener listener) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(scope.name(group));
        producer.setNamesrvAddr(scope.namesrv);
        producer.setInstanceName("tx-" + System.nanoTime());
        producer.setSendMsgTimeout(10_000);
        producer.setTransactionListener(listener);
        scope.start(producer);
        return producer;
    }

    /** Has the broker know the producer now, not at its next heartbeat in 30 s. */
    private static void introduce(TransactionMQProducer producer, String topic) throws Exception {
        Scope.ok(producer.send(Scope.message(topic, "TagB", "hello")));
        Object client = producer.getDefaultMQProducerImpl();
        for (String getter : new String[] {"getMqClientFactory", "getmQClientFactory"}) {
            try {
                Object factory = client.getClass().getMethod(getter).invoke(client);
                factory.getClass().getMethod("sendHeartbeatToAllBrokerWithLock").invoke(factory);
                return;
            } catch (NoSuchMethodException e) {
                // The other name: it moved between 4.x and 5.x.
            }
        }
        throw new NoSuchMethodException("the client's factory");
    }

    private static TransactionSendResult send(TransactionMQProducer producer, String topic, String body) throws Exception {
        TransactionSendResult result = producer.sendMessageInTransaction(Scope.message(topic, "TagA", body), null);
        Scope.ok(result);
        return result;
    }

    private static Inbox consume(Scope scope, String topic) throws Exception {
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = scope.push("CID");
        consumer.subscribe(topic, "TagA");
        consumer.registerMessageListener(inbox.listener());
        scope.start(consumer);
        return inbox;
    }

    private static void commit(Scope scope) throws Exception {
        TransactionMQProducer producer = producer(scope, "PID_TX", Listener.always(LocalTransactionState.COMMIT_MESSAGE));
        String topic = scope.topic(producer, 4);
        Inbox inbox = consume(scope, topic);
        for (int i = 0; i < 20; i++) {
            TransactionSendResult result = send(producer, topic, "committed " + i);
            Check.equal(LocalTransactionState.COMMIT_MESSAGE, result.getLocalTransactionState(), "state");
        }
        inbox.expect(20, LIMIT_MS);
        for (MessageExt message : inbox.all()) {
            Check.equal(8, message.getSysFlag() & 12, "state in the system flag");
            Check.that(message.getPreparedTransactionOffset() > 0, "it does not name its half message");
            Check.equal("true", message.getProperty("TRAN_MSG"), "TRAN_MSG");
            Check.equal(scope.name("PID_TX"), message.getProperty("PGROUP"), "PGROUP");
        }
    }

    private static void rollback(Scope scope) throws Exception {
        Listener listener = Listener.always(LocalTransactionState.ROLLBACK_MESSAGE);
        TransactionMQProducer producer = producer(scope, "PID_TX", listener);
        String topic = scope.topic(producer, 4);
        Inbox inbox = consume(scope, topic);
        for (int i = 0; i < 5; i++) {
            send(producer, topic, "rolled back " + i);
        }
        Scope.ok(producer.send(Scope.message(topic, "TagA", "plain")));
        inbox.expect(1, LIMIT_MS);
        Thread.sleep(6_000);
        Check.equal(Collections.singleton("plain"), inbox.bodies(), "what was consumed");
        Check.equal(0, listener.asked.size(), "questions about what was rolled back");
    }

    private static void open(Scope scope) throws Exception {
        Listener listener = new Listener(message -> LocalTransactionState.UNKNOW, message -> LocalTransactionState.COMMIT_MESSAGE);
        TransactionMQProducer producer = producer(scope, "PID_TX", listener);
        String topic = scope.topic(producer, 4);
        introduce(producer, topic);
        Inbox inbox = consume(scope, topic);
        List<String> ids = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            ids.add(send(producer, topic, "open " + i).getTransactionId());
        }
        Check.equal(0, inbox.size(), "messages before the answer");
        inbox.expect(5, LIMIT_MS);
        Thread.sleep(5_000);
        Check.equal(5, inbox.size(), "messages in the end");
        for (MessageExt question : listener.asked) {
            Check.equal(topic, question.getTopic(), "topic of the question");
            Check.that(ids.contains(question.getTransactionId()), "a foreign transaction is asked about");
            Check.that(question.getProperty("TRANSACTION_CHECK_TIMES") != null, "the number of questions is missing");
        }
    }

    private static void gone(Scope scope) throws Exception {
        TransactionMQProducer first = producer(scope, "PID_TX", Listener.always(LocalTransactionState.UNKNOW));
        String topic = scope.topic(first, 4);
        Inbox inbox = consume(scope, topic);
        send(first, topic, "left behind");
        first.shutdown();
        Listener listener = Listener.always(LocalTransactionState.COMMIT_MESSAGE);
        TransactionMQProducer second = producer(scope, "PID_TX", listener);
        introduce(second, topic);
        inbox.expect(1, LIMIT_MS);
        Check.equal(Collections.singleton("left behind"), inbox.bodies(), "what was consumed");
        Check.that(!listener.asked.isEmpty(), "nobody was asked");
    }

    private static void undecided(Scope scope) throws Exception {
        Listener listener = Listener.always(LocalTransactionState.UNKNOW);
        TransactionMQProducer producer = producer(scope, "PID_TX", listener);
        String topic = scope.topic(producer, 4);
        introduce(producer, topic);
        Inbox inbox = consume(scope, topic);
        String body = scope.name("undecided");
        send(producer, topic, body);
        // Others give up transactions as well.
        Inbox givenUp = new Inbox();
        DefaultMQPushConsumer consumer = scope.push("CID_GIVEN_UP");
        consumer.subscribe(GIVEN_UP, "*");
        consumer.registerMessageListener(givenUp.listener());
        scope.start(consumer);
        Check.within(LIMIT_MS, () -> givenUp.bodies().contains(body), () -> "given up: " + givenUp.bodies());
        Check.equal(CHECKS_MAX, listener.asked.size(), "questions");
        Check.equal(0, inbox.size(), "messages consumed");
    }

    private static void immune(Scope scope) throws Exception {
        Listener listener = new Listener(message -> LocalTransactionState.UNKNOW, message -> LocalTransactionState.COMMIT_MESSAGE);
        TransactionMQProducer producer = producer(scope, "PID_TX", listener);
        String topic = scope.topic(producer, 4);
        introduce(producer, topic);
        Inbox inbox = consume(scope, topic);
        Message message = Scope.message(topic, "TagA", "slow");
        message.putUserProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "8");
        long start = System.currentTimeMillis();
        Scope.ok(producer.sendMessageInTransaction(message, null));
        inbox.expect(1, LIMIT_MS);
        long waited = System.currentTimeMillis() - start;
        Check.that(waited >= 8_000, "asked after " + waited + " ms");
    }

    private static void many(Scope scope) throws Exception {
        Listener listener = new Listener(
            message -> new String(message.getBody(), StandardCharsets.UTF_8).startsWith("yes")
                ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE,
            message -> LocalTransactionState.UNKNOW);
        TransactionMQProducer producer = producer(scope, "PID_TX", listener);
        String topic = scope.topic(producer, 4);
        Inbox inbox = consume(scope, topic);
        CountDownLatch done = new CountDownLatch(4);
        List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
        for (int thread = 0; thread < 4; thread++) {
            String name = thread + " ";
            new Thread(() -> {
                try {
                    for (int i = 0; i < 50; i++) {
                        send(producer, topic, (i % 3 == 0 ? "no " : "yes ") + name + i);
                    }
                } catch (Throwable e) {
                    failures.add(e);
                }
                done.countDown();
            }).start();
        }
        Check.that(done.await(LIMIT_MS, TimeUnit.MILLISECONDS), "the threads do not end");
        Check.equal(new ArrayList<>(), failures, "failures");
        inbox.expect(4 * 33, LIMIT_MS);
        Check.that(inbox.bodies().stream().allMatch(body -> body.startsWith("yes")), "a rolled back message came");
        Thread.sleep(4_000);
        Check.equal(4 * 33, inbox.size(), "messages in the end");
    }
}
