package ringmq.torture;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.impl.MQClientManager;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * The official client under torture: producers and push consumers that write a history.
 * `java ringmq.torture.Torture FILE RUN BROKER FIRST_NUMBER SENDERS QUEUES TOPIC...`, with the name
 * server in NAMESRV_ADDR. Commands on standard input, one per line: `clock` prints System.nanoTime, `stop` ends the
 * producers and prints how much was acknowledged, `count` prints how many messages consumers got, `close` ends.
 */
public final class Torture {
    static final String UID_PROPERTY = "rmqUid";
    static final String GROUP = "CID_java";
    private static final int RECONSUME_TIMES_MAX = 2;
    /** Level 1 of messageDelayLevel is one second. */
    private static final int DELAY_LEVEL = 1;
    private static final long DELAY_MS = 1_000;
    private static final int LATER = 1;
    private static final int MEMBERS = 2;
    /** Between two questions for a committed offset. */
    private static final long WATCH_PAUSE_MS = 50;

    final History history;
    final long run;
    final String broker;
    final String[] topics;
    final int queues;
    final AtomicLong acknowledged = new AtomicLong();
    volatile boolean stop;
    private final AtomicLong delivered = new AtomicLong();
    private final List<Thread> senders = new ArrayList<>();

    private Torture(String[] args) throws Exception {
        run = Long.parseUnsignedLong(args[1]);
        history = new History(args[0], run);
        broker = args[2];
        queues = Integer.parseInt(args[5]);
        topics = new String[args.length - 6];
        System.arraycopy(args, 6, topics, 0, topics.length);
    }

    public static void main(String[] args) throws Exception {
        Torture torture = new Torture(args);
        int first = Integer.parseInt(args[3]);
        for (int i = 0; i < MEMBERS; i++) {
            torture.startConsumer(i, first + 100 + i);
        }
        DefaultMQProducer producer = torture.startProducer();
        for (int i = 0; i < Integer.parseInt(args[4]); i++) {
            Thread sender = new Thread(new Sender(torture, producer, first + i), "sender-" + i);
            torture.senders.add(sender);
            sender.start();
        }
        System.out.println("started");
        torture.obey();
        System.exit(0);
    }

    private void obey() throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            switch (line) {
                case "clock":
                    System.out.println(System.nanoTime());
                    break;
                case "stop":
                    stop = true;
                    for (Thread sender : senders) {
                        sender.join();
                    }
                    System.out.println(acknowledged.get());
                    break;
                case "count":
                    System.out.println(delivered.get());
                    break;
                case "close":
                    history.close();
                    System.out.println("closed");
                    return;
                default:
                    throw new IllegalArgumentException(line);
            }
        }
    }

    private DefaultMQProducer startProducer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("PID_java");
        producer.setNamesrvAddr(System.getenv("NAMESRV_ADDR"));
        producer.setInstanceName("producer");
        producer.setRetryTimesWhenSendFailed(0);
        producer.setPollNameServerInterval(1_000);
        producer.start();
        return producer;
    }

    private void startConsumer(int member, int proc) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(GROUP);
        consumer.setNamesrvAddr(System.getenv("NAMESRV_ADDR"));
        consumer.setInstanceName("consumer-" + member);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(2);
        consumer.setConsumeThreadMax(2);
        consumer.setMaxReconsumeTimes(RECONSUME_TIMES_MAX);
        consumer.setPollNameServerInterval(1_000);
        consumer.setPersistConsumerOffsetInterval(500);
        consumer.setPullTimeDelayMillsWhenException(50);
        for (String topic : topics) {
            consumer.subscribe(topic, "*");
            History.Event e = new History.Event(History.SUBSCRIBE, History.OK);
            e.topic = topic;
            e.group = GROUP;
            history.write(e);
        }
        consumer.registerMessageListener((MessageListenerConcurrently) (batch, context) -> consume(batch, context, proc));
        // The instance that start() will find by the same names.
        MQClientInstance client = MQClientManager.getInstance().getOrCreateMQClientInstance(consumer);
        RecordedOffsets offsets = new RecordedOffsets(history, client, proc + 100, proc + 200);
        consumer.setOffsetStore(offsets);
        consumer.start();
        if (member == 0) {
            Thread watcher = new Thread(() -> watch(offsets), "watcher");
            watcher.setDaemon(true);
            watcher.start();
        }
    }

    /** Asks for the committed offset of one queue after the other, also while the broker comes and goes. */
    private void watch(RecordedOffsets offsets) {
        while (true) {
            for (String topic : topics) {
                for (int queue = 0; queue < queues; queue++) {
                    offsets.watch(new MessageQueue(topic, broker, queue));
                    pause(WATCH_PAUSE_MS);
                }
            }
        }
    }

    /** One message at a time: the default of consumeMessageBatchMaxSize. */
    private ConsumeConcurrentlyStatus consume(List<MessageExt> batch, ConsumeConcurrentlyContext context, int proc) {
        boolean later = false;
        context.setDelayLevelWhenNextConsume(DELAY_LEVEL);
        for (MessageExt m : batch) {
            Body body = Body.decode(m.getBody());
            History.Event e = new History.Event(History.DELIVER, History.OK);
            // A retried message shows its real topic, and stands in the retry topic's queue.
            e.topic = context.getMessageQueue().getTopic();
            e.queue = m.getQueueId();
            e.offset = m.getQueueOffset();
            e.phy = m.getCommitLogOffset();
            e.group = GROUP;
            e.proc = proc;
            e.aux = m.getReconsumeTimes();
            e.uid = body == null || body.run != run ? -1 : body.uid();
            e.flags = body != null && !body.intact ? History.FLAG_BODY_BAD : 0;
            e.digest = Body.digest(m.getTopic(), m.getTags(), m.getKeys(), m.getUserProperty(UID_PROPERTY), m.getBody());
            history.write(e);
            delivered.incrementAndGet();
            boolean fails = body != null
                && (body.kind == Body.POISON || body.kind == Body.LATER_ONCE && m.getReconsumeTimes() == 0);
            later |= fails;
            History.Event end = new History.Event(History.CONSUME_END, History.OK);
            end.topic = e.topic;
            end.queue = e.queue;
            end.group = GROUP;
            end.proc = proc;
            end.uid = e.uid;
            end.code = fails ? LATER : 0;
            end.offset = m.getReconsumeTimes();
            end.aux = DELAY_MS;
            if (fails) {
                history.write(end);
            }
        }
        return later ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    }

    void pause(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
