package ringmq.e2e;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;

/**
 * Named checks, a few at a time, each with a time limit. Prints one line per check
 * (`PASS name milliseconds` or `FAIL name reason`) and a closing `TOTAL` line.
 */
final class Check {
    interface Body {
        void run(Scope scope) throws Exception;
    }

    static final class Failed extends RuntimeException {
        Failed(String reason) {
            super(reason);
        }
    }

    private static final class Named {
        final String name;
        final Body body;

        Named(String name, Body body) {
            this.name = name;
            this.body = body;
        }
    }

    private static final long LIMIT_SECONDS = 120;

    private final String namesrv;
    private final String run = Long.toString(System.currentTimeMillis(), 36);
    private final List<Named> checks = new ArrayList<>();

    Check(String namesrv) {
        this.namesrv = namesrv;
    }

    void add(String name, Body body) {
        checks.add(new Named(name, body));
    }

    /** Runs all whose name contains `only`; the process exit code is 0 iff all passed and `expected` ran. */
    int runAll(String only, int expected, int atOnce) throws InterruptedException {
        ExecutorService pool = Executors.newFixedThreadPool(atOnce);
        ExecutorService bodies = Executors.newCachedThreadPool();
        AtomicInteger passed = new AtomicInteger();
        AtomicInteger failed = new AtomicInteger();
        for (Named check : checks) {
            if (!check.name.contains(only)) {
                continue;
            }
            pool.submit(() -> {
                long start = System.nanoTime();
                String reason = runOne(bodies, check);
                long ms = (System.nanoTime() - start) / 1_000_000;
                if (reason == null) {
                    passed.incrementAndGet();
                    line("PASS " + check.name + " " + ms);
                } else {
                    failed.incrementAndGet();
                    line("FAIL " + check.name + " " + reason.replace('\n', ' '));
                }
            });
        }
        pool.shutdown();
        pool.awaitTermination(1, TimeUnit.HOURS);
        line("TOTAL " + passed + " passed, " + failed + " failed");
        boolean whole = expected == 0 || expected == passed.get() + failed.get();
        if (!whole) {
            line("FAIL count " + expected + " checks were expected");
        }
        return failed.get() == 0 && whole && passed.get() > 0 ? 0 : 1;
    }

    private String runOne(ExecutorService bodies, Named check) {
        Scope scope = new Scope(namesrv, run, check.name);
        Future<?> future = bodies.submit(() -> {
            check.body.run(scope);
            return null;
        });
        try {
            future.get(LIMIT_SECONDS, TimeUnit.SECONDS);
            return null;
        } catch (TimeoutException e) {
            future.cancel(true);
            return "took longer than " + LIMIT_SECONDS + " s";
        } catch (Exception e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            return cause instanceof Failed ? cause.getMessage() : describe(cause);
        } finally {
            scope.close();
        }
    }

    private static String describe(Throwable e) {
        StringBuilder text = new StringBuilder(e.toString());
        for (StackTraceElement frame : e.getStackTrace()) {
            if (frame.getClassName().startsWith("ringmq")) {
                return text.append(" at ").append(frame).toString();
            }
        }
        return text.toString();
    }

    private static synchronized void line(String text) {
        System.out.println(text);
        System.out.flush();
    }

    static void that(boolean condition, String reason) {
        if (!condition) {
            throw new Failed(reason);
        }
    }

    static void equal(Object expected, Object found, String what) {
        if (!expected.equals(found)) {
            throw new Failed(what + ": expected " + expected + ", found " + found);
        }
    }

    /** Waits until the condition holds; the reason is made when it does not. */
    static void within(long millis, BooleanSupplier condition, Supplier<String> reason) throws InterruptedException {
        long end = System.nanoTime() + millis * 1_000_000;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) {
                throw new Failed("after " + millis + " ms: " + reason.get());
            }
            Thread.sleep(20);
        }
    }
}
