# An HTTP receiver for tests: receiver.pl PORT FOLDER
#
# Appends each request's body to FOLDER/accepted as a line `ID BODY` and answers
# 200. While FOLDER/mode says `500` or `hang`, it does that instead and appends
# to FOLDER/refused. perl-base is on every Debian.
use strict;
use IO::Socket::INET;

my ($port, $folder) = @ARGV;
my $server = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 64, ReuseAddr => 1)
    or die "cannot listen on $port: $!";
$SIG{CHLD} = 'IGNORE';
while (my $client = $server->accept) {
    next if fork;
    my ($length, $id) = (0, "-");
    while (my $line = <$client>) {
        $length = $1 if $line =~ /^content-length:\s*(\d+)/i;
        $id = $1 if $line =~ /^idempotency-key:\s*(\S+)/i;
        last if $line =~ /^\r?$/;
    }
    read $client, my $body, $length;
    $body =~ s/\s+$//;
    open my $file, '<', "$folder/mode";
    chomp(my $mode = <$file> // 'ok');
    my $log = $mode eq 'ok' ? 'accepted' : 'refused';
    open my $out, '>>', "$folder/$log";
    syswrite $out, "$id $body\n";
    close $out;
    sleep 1000 if $mode eq 'hang';
    my $code = $mode eq 'ok' ? '200 OK' : '500 Internal Server Error';
    print $client "HTTP/1.1 $code\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    exit 0;
}
