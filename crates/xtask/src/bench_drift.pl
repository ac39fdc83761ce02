# Tampers with a tenant and prints how long it took, in microseconds, until what
# is waited for could be seen: once for each round.
#
#   perl bench_drift.pl file-seen|file-repaired|unit-seen|unit-repaired TENANT ROUNDS
use strict;
use warnings;
use Time::HiRes qw(time);

my ($what, $tenant, $rounds) = @ARGV;
my $unit   = "/etc/systemd/system/$tenant-api.service";
my $status = "/etc/cb/manifests/$tenant.status.yaml";
my $run    = "/run/systemd/units/invocation:$tenant-api.service";

sub slurp { local (@ARGV, $/) = @_; return <> // '' }

# Looks again and again until it is so.
sub wait_for {
    my $is   = shift;
    my $from = time;
    until ($is->()) { die "$what of $tenant: nothing for a minute\n" if time - $from > 60 }
}

# The status of a tenant whose policy is Detect is written when drift is seen.
sub seen   { my $kind = shift; return sub { slurp($status) =~ /kind: $kind/ } }
sub quiet  { return slurp($status) !~ /^  drift:/m }
sub append { open my $file, '>>', $unit or die $!; print $file "# x\n"; close $file; return time }

for (1 .. $rounds) {
    my $begun;
    if ($what eq 'file-seen') {
        my $before = slurp($unit);
        $begun = append();
        wait_for(seen('UnitChanged'));
        print int((time - $begun) * 1e6), "\n";
        open my $file, '>', $unit or die $!;
        print $file $before;
        close $file;
        wait_for(\&quiet);
    } elsif ($what eq 'file-repaired') {
        my $inode = (stat $unit)[1];
        $begun = append();
        wait_for(sub { my @stat = stat $unit; @stat && $stat[1] != $inode });
        print int((time - $begun) * 1e6), "\n";
        # Until systemd has read it too, the next one would wait for that.
        wait_for(sub { `systemctl show -P NeedDaemonReload $tenant-api` eq "no\n" });
    } elsif ($what eq 'unit-seen') {
        chomp(my $pid = `systemctl show -P MainPID $tenant-api`);
        $begun = time;
        kill 'KILL', $pid or die $!;
        wait_for(seen('ServiceKilled'));
        print int((time - $begun) * 1e6), "\n";
        wait_for(\&quiet);
    } else {
        # The link names the run. How long there is none may be too short to see.
        my $before = readlink $run // die "$tenant-api does not run\n";
        $begun = time;
        my $stop = fork // die $!;
        exec 'systemctl', 'stop', "$tenant-api" or die $! if $stop == 0;
        wait_for(sub { my $now = readlink $run; defined $now && $now ne $before });
        print int((time - $begun) * 1e6), "\n";
        waitpid $stop, 0;
    }
}
