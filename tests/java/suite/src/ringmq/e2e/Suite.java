package ringmq.e2e;

/**
 * Everything that an official Java client does with a broker, against the name server of
 * NAMESRV_ADDR: `java ringmq.e2e.Suite [--only TEXT] [--expect COUNT] [--at-once N]`.
 */
public final class Suite {
    private Suite() {
    }

    public static void main(String[] args) throws Exception {
        String namesrv = System.getenv("NAMESRV_ADDR");
        if (namesrv == null) {
            System.err.println("NAMESRV_ADDR is not set");
            System.exit(2);
        }
        String only = "";
        int expected = 0;
        int atOnce = 8;
        for (int i = 0; i + 1 < args.length; i += 2) {
            switch (args[i]) {
                case "--only":
                    only = args[i + 1];
                    break;
                case "--expect":
                    expected = Integer.parseInt(args[i + 1]);
                    break;
                case "--at-once":
                    atOnce = Integer.parseInt(args[i + 1]);
                    break;
                default:
                    throw new IllegalArgumentException(args[i]);
            }
        }
        Check checks = new Check(namesrv);
        ConsumeChecks.register(checks);
        SendChecks.register(checks);
        PullChecks.register(checks);
        FilterChecks.register(checks);
        KeyChecks.register(checks);
        RequestChecks.register(checks);
        TransactionChecks.register(checks);
        System.exit(checks.runAll(only, expected, atOnce));
    }
}
