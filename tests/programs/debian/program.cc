// Exceptions, templates, streams, threads and the standard library.
#include <algorithm>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <typeinfo>
#include <unordered_map>
#include <vector>

struct Shape {
    virtual ~Shape() = default;
    virtual double area() const = 0;
};
struct Square : Shape {
    explicit Square(double side) : side(side) {}
    double area() const override { return side * side; }
    double side;
};
struct Circle : virtual Shape {
    double area() const override { return 3.14159; }
};

template <class T> T power(T base, unsigned exponent)
{
    return exponent ? base * power(base, exponent - 1) : T(1);
}

static int fail(int depth)
{
    std::string local(100, 'x');
    if (depth == 0)
        throw std::out_of_range("deep");
    return fail(depth - 1) + static_cast<int>(local.size());
}

int main(int argc, char **argv)
{
    std::cout << argc << ' ' << argv[2] << '\n';
    std::vector<std::unique_ptr<Shape>> shapes;
    shapes.push_back(std::make_unique<Square>(1.5));
    shapes.push_back(std::make_unique<Circle>());
    for (const auto &shape : shapes)
        std::cout << std::setprecision(10) << shape->area() << ' ' << typeid(*shape).name() << '\n';
    std::map<std::string, int> counts;
    std::istringstream words("a rose is a rose is a rose");
    for (std::string word; words >> word;)
        ++counts[word];
    for (const auto &[word, count] : counts)
        std::cout << word << '=' << count << ' ';
    std::cout << power<long long>(3, 35) << ' ' << power(1.1, 50) << '\n';
    try {
        fail(20);
    } catch (const std::exception &error) {
        std::cout << "caught " << error.what() << ' ' << typeid(error).name() << '\n';
    }
    try {
        dynamic_cast<Circle &>(*shapes[0]).area();
    } catch (const std::bad_cast &) {
        std::cout << "bad cast\n";
    }
    std::mutex mutex;
    std::vector<std::thread> threads;
    long total = 0;
    for (int number = 0; number < 4; ++number)
        threads.emplace_back([&, number] {
            for (int i = 0; i < 1000; ++i) {
                std::lock_guard<std::mutex> guard(mutex);
                total += number * i;
            }
        });
    for (auto &thread : threads)
        thread.join();
    std::cout << total << '\n';
    std::vector<unsigned> numbers(10000);
    std::iota(numbers.begin(), numbers.end(), 1u);
    std::sort(numbers.begin(), numbers.end(),
              [](unsigned a, unsigned b) { return a * 2654435761u < b * 2654435761u; });
    std::cout << numbers[0] << ' ' << numbers[5000] << ' '
              << std::accumulate(numbers.begin(), numbers.end(), 0ull) << '\n';
    std::cout << std::regex_replace("2024-05-06", std::regex("(\\d+)-(\\d+)-(\\d+)"), "$3.$2.$1") << '\n';
    std::unordered_map<int, std::string> names{{1, "one"}, {2, "two"}};
    std::cerr << names.at(2) << '\n';
    return 3;
}
