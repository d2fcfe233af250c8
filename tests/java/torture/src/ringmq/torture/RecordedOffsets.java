package ringmq.torture;

import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.consumer.store.RemoteBrokerOffsetStore;
import org.apache.rocketmq.client.exception.OffsetNotFoundException;
import org.apache.rocketmq.client.impl.FindBrokerResult;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.common.MixAll;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;

/**
 * The official client's own offset store, which writes down what it commits and what it is told. It waits for the
 * answer to a commit, where the original sends it one-way, and lets pulls carry none: a commit without an answer
 * proves nothing. One request at a time, so that each has one process number in the history.
 */
final class RecordedOffsets extends RemoteBrokerOffsetStore {
    private static final long TIMEOUT_MS = 5_000;
    /** With the search for the broker's address. */
    private static final long TIMEOUT_MAX_MS = 15_000;
    private static final int NOT_FOUND = 22;
    private static final int NO_ANSWER = -1;

    private final History history;
    private final MQClientInstance client;
    private final int proc;
    private final int watchProc;

    RecordedOffsets(History history, MQClientInstance client, int proc, int watchProc) {
        super(client, Torture.GROUP);
        this.history = history;
        this.client = client;
        this.proc = proc;
        this.watchProc = watchProc;
    }

    @Override
    public long readOffset(MessageQueue queue, ReadOffsetType type) {
        if (type == ReadOffsetType.READ_FROM_MEMORY) {
            // DefaultMQPushConsumerImpl.pullMessage asks this for what the pull shall commit: nothing.
            return -1;
        }
        Long known = cloneOffsetTable(queue.getTopic()).get(queue);
        if (type == ReadOffsetType.MEMORY_FIRST_THEN_STORE && known != null) {
            return known;
        }
        synchronized (this) {
            history.write(event(History.OFFSET_QUERY, History.INVOKE, queue, -1, proc));
            long told = super.readOffset(queue, ReadOffsetType.READ_FROM_STORE);
            boolean isKnown = told >= 0 || told == -1;
            History.Event e = event(History.OFFSET_QUERY, told >= 0 ? History.OK : History.FAIL, queue, told, proc);
            e.kind = isKnown ? e.kind : History.INFO;
            e.code = told >= 0 ? 0 : told == -1 ? NOT_FOUND : NO_ANSWER;
            history.write(e);
            return told;
        }
    }

    @Override
    public void persistAll(Set<MessageQueue> queues) {
        if (queues == null || queues.isEmpty()) {
            return;
        }
        for (Map.Entry<MessageQueue, Long> entry : cloneOffsetTable(null).entrySet()) {
            if (queues.contains(entry.getKey())) {
                commit(entry.getKey(), entry.getValue());
            } else {
                removeOffset(entry.getKey());
            }
        }
    }

    @Override
    public void persist(MessageQueue queue) {
        Long offset = cloneOffsetTable(queue.getTopic()).get(queue);
        if (offset != null) {
            commit(queue, offset);
        }
    }

    private synchronized void commit(MessageQueue queue, long offset) {
        if (offset < 0) {
            return;
        }
        history.write(event(History.OFFSET_COMMIT, History.INVOKE, queue, offset, proc));
        History.Event end = event(History.OFFSET_COMMIT, History.OK, queue, offset, proc);
        try {
            updateConsumeOffsetToBroker(queue, offset, false);
        } catch (Exception e) {
            end.kind = History.INFO;
            end.code = NO_ANSWER;
        }
        history.write(end);
    }

    /** Asks the broker for what is committed, beside the consumer and without its memory. */
    void watch(MessageQueue queue) {
        FindBrokerResult found = client.findBrokerAddressInSubscribe(queue.getBrokerName(), MixAll.MASTER_ID, true);
        if (found == null) {
            return;
        }
        QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
        header.setTopic(queue.getTopic());
        header.setConsumerGroup(Torture.GROUP);
        header.setQueueId(queue.getQueueId());
        header.setBrokerName(queue.getBrokerName());
        history.write(event(History.OFFSET_QUERY, History.INVOKE, queue, -1, watchProc));
        History.Event end = event(History.OFFSET_QUERY, History.OK, queue, -1, watchProc);
        try {
            end.offset = client.getMQClientAPIImpl().queryConsumerOffset(found.getBrokerAddr(), header, TIMEOUT_MS);
        } catch (OffsetNotFoundException e) {
            end.kind = History.FAIL;
            end.code = NOT_FOUND;
        } catch (Exception e) {
            end.kind = History.INFO;
            end.code = NO_ANSWER;
        }
        history.write(end);
    }

    private static History.Event event(int op, int kind, MessageQueue queue, long offset, int proc) {
        History.Event e = new History.Event(op, kind);
        e.topic = queue.getTopic();
        e.queue = queue.getQueueId();
        e.group = Torture.GROUP;
        e.offset = offset;
        e.proc = proc;
        e.aux = kind == History.INVOKE ? TIMEOUT_MAX_MS : 0;
        return e;
    }
}
