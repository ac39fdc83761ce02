# Times two commands in turn: bench_get.pl ROUNDS COMMAND COMMAND
#
# A line for each round: the microseconds of the first and of the second.
# Whichever begins is the other one in the next round.
use strict;
use warnings;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($rounds, @commands) = @ARGV;
my @words = map { [split ' '] } @commands;

sub took {
    my ($words) = @_;
    my $begun = clock_gettime(CLOCK_MONOTONIC);
    my $child = fork // die "fork: $!";
    if ($child == 0) {
        open STDOUT, '>', '/dev/null' or die $!;
        exec { $words->[0] } @$words or die "$words->[0]: $!";
    }
    waitpid $child, 0;
    die "@$words failed\n" if $?;
    return int(1e6 * (clock_gettime(CLOCK_MONOTONIC) - $begun));
}

for my $round (1 .. $rounds) {
    my @times;
    for my $n ($round % 2 ? (0, 1) : (1, 0)) {
        $times[$n] = took($words[$n]);
    }
    print "@times\n";
}
